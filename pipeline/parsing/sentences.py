"""Find where the sentences of a caption begin, and clauses that only punctuation joins.

Relations are read within each of them. The network was trained on captions of one sentence, and
relates every noun to every verb: in `A boy kicks a ball. A girl reads a book.` the boy would read.

Example:
    >>> import spacy
    >>> sentence_starts(spacy.blank("en")("A dog runs. A cat sleeps; a bird sings."))
    [0, 4, 8]
"""

from spacy.attrs import ORTH
from spacy.language import Language
from spacy.strings import get_string_id
from spacy.tokens import Doc, Token

from pipeline.parsing.embedded import SENTENCES

_ENDS = frozenset((".", "..", "!", "!!", "?", "??", "?!", "!?", ";"))
_JOINTS = frozenset((",", ":", "-", "--", "–", "—", "...", "…", ",,"))
_MARKS = _ENDS | _JOINTS
_MARK_CODES = frozenset(map(get_string_id, _MARKS))  # a third of the time of their texts
_CONJUNCTIONS = ("CCONJ", "SCONJ")
_IN_NOUN_PHRASE = frozenset(("DET", "ADJ", "NUM", "NOUN", "PROPN"))


def sentence_starts(doc: Doc) -> list[int]:
    """Tokens at which the sentences of a caption begin; the first is 0.

    A full stop, question mark, exclamation mark or semicolon ends a sentence. A comma, colon, dash
    or ellipsis does if a noun and its verb stand on both sides (`a boy kicks a ball, a girl reads a
    book`), which needs parts of speech. A finite verb behind it asks for one before it, as a list
    has none (`a man in a shirt, shorts, and a hat stands`). A clause whose subject is a pronoun
    (`he waves`), or a participle that belongs to the clause before (`his hands resting on a table`,
    `a dog lying beside him`), stays.
    """
    starts = [0]
    marks = [i for i, code in enumerate(doc.to_array(ORTH).tolist()) if code in _MARK_CODES]
    for mark in marks:
        start = _word_behind(doc, mark)
        if start is None or start <= starts[-1] or not _has_word(doc, starts[-1], mark):
            continue
        if doc[mark].text in _ENDS or (
            _stands_apart(doc, mark) and _are_clauses(doc, starts[-1], mark, start)
        ):
            starts.append(start)
    return starts


class CaptionSentences:
    """Sets the beginnings of sentences before the parser, which then draws no arc across them."""

    def __call__(self, doc: Doc) -> Doc:
        """Mark the sentences of one caption."""
        for start in sentence_starts(doc)[1:]:
            doc[start].is_sent_start = True
        return doc


@Language.factory(SENTENCES, assigns=["token.is_sent_start"])
def make_caption_sentences(nlp: Language, name: str) -> CaptionSentences:
    """The component, for `nlp.add_pipe("caption_sentences", before="parser")`."""
    return CaptionSentences()


def _word_behind(doc: Doc, mark: int) -> int | None:
    """The first token behind a mark that is no punctuation."""
    for token in range(mark + 1, len(doc)):
        if not (doc[token].is_punct or doc[token].is_space):
            return token
    return None


def _has_word(doc: Doc, start: int, end: int) -> bool:
    return any(token.is_alpha for token in doc[start:end])


def _stands_apart(doc: Doc, mark: int) -> bool:
    """Whether a mark is not the hyphen of a word such as `t-shirt`."""
    return doc[mark].text != "-" or bool(doc[mark - 1].whitespace_ and doc[mark].whitespace_)


def _are_clauses(doc: Doc, start: int, mark: int, behind: int) -> bool:
    """Whether a clause ends at the mark and another begins at the token `behind`."""
    subject = behind
    while subject < len(doc) and doc[subject].pos_ in _CONJUNCTIONS:
        subject += 1
    verb = _behind_subject(doc, subject)
    if verb is None:
        return False
    before = range(start + 1, mark)
    if _is_finite(doc[_behind_adverbs(doc, verb)]):
        return any(
            _is_noun(doc[i - 1]) and _is_finite(doc[_behind_adverbs(doc, i)]) for i in before
        )
    return (
        _is_participle(doc[verb])
        and not _is_possessive(doc[subject])
        and not any(_is_pronoun(word) for word in doc[verb:])
        and any(_is_noun(doc[i - 1]) and _is_verb(doc[_behind_adverbs(doc, i)]) for i in before)
    )


def _behind_subject(doc: Doc, start: int) -> int | None:
    """The first token behind a noun phrase and its prepositions; None if there is no noun."""
    token = _behind_noun_phrase(doc, start)
    while start < token < len(doc) and doc[token].pos_ == "ADP":
        behind = _behind_noun_phrase(doc, token + 1)
        if behind == token + 1:
            break
        token = behind
    return token if start < token < len(doc) and _is_noun(doc[token - 1]) else None


def _behind_noun_phrase(doc: Doc, token: int) -> int:
    while token < len(doc) and (doc[token].pos_ in _IN_NOUN_PHRASE or _is_possessive(doc[token])):
        token += 1
    return token


def _behind_adverbs(doc: Doc, token: int) -> int:
    """The first token from here that is no adverb, or the last one."""
    while token < len(doc) - 1 and doc[token].pos_ == "ADV":
        token += 1
    return token


def _is_noun(word: Token) -> bool:
    return word.pos_ in ("NOUN", "PROPN")


def _is_verb(word: Token) -> bool:
    return _is_finite(word) or _is_participle(word)


def _is_finite(word: Token) -> bool:
    return word.pos_ in ("VERB", "AUX") and "Fin" in word.morph.get("VerbForm", [])


def _is_participle(word: Token) -> bool:
    return word.pos_ == "VERB" and word.lower_.endswith("ing")


def _is_possessive(word: Token) -> bool:
    return "Yes" in word.morph.get("Poss", [])


def _is_pronoun(word: Token) -> bool:
    return "Prs" in word.morph.get("PronType", []) and not _is_possessive(word)
