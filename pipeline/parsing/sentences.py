"""Find where the sentences of a caption begin, and the clauses and fragments that marks join.

Relations are read within each of them. The network was trained on captions of one sentence, and
relates every noun to every verb: in `A boy kicks a ball. A girl reads a book.` the boy would read.

Example:
    >>> import spacy
    >>> sentence_starts(spacy.blank("en")("A dog runs. A cat sleeps; a bird sings."))
    [0, 4, 8]
"""

from spacy.language import Language
from spacy.tokens import Doc, Token

from pipeline.parsing.embedded import SENTENCES

_ENDS = frozenset((".", "..", "!", "!!", "?", "??", "?!", "!?", ";"))
_JOINTS = frozenset((",", ":", "-", "--", "–", "—", "...", "…", ",,", "/", "(", ")", "[", "]"))
_JOINERS = frozenset(("and", "&", "but", "while", "whilst"))
_PARTS = frozenset(("with", "in", "of", "without", "including"))
"""Prepositions before what something has or wears; others say where it is."""

_CONJUNCTIONS = ("CCONJ", "SCONJ")
_IN_NOUN_PHRASE = frozenset(("DET", "ADJ", "NUM", "NOUN", "PROPN"))


def sentence_starts(doc: Doc) -> list[int]:
    """Tokens at which the sentences of a caption begin; the first is 0.

    A full stop, question mark, exclamation mark or semicolon ends a sentence. A comma, colon, dash,
    ellipsis, slash or bracket divides fragments of one form where there is no verb (`a cat on a
    chair, a dog under a table`). These and `and` divide clauses: a noun and its verb stand on both
    sides (`a boy kicks a ball, a girl reads a book`), which needs parts of speech. A finite verb
    behind it asks for one before it, as a list has none (`a man in a shirt, shorts, and a hat
    stands`). A clause whose subject is a pronoun (`he waves`), or a participle that belongs to the
    clause before (`his hands resting on a table`, `a dog lying beside him`), stays.
    """
    starts = [0]
    ends = [token.i for token in doc if token.text in _ENDS]
    for end in [*ends, len(doc)]:
        inside = range(starts[-1], end)
        has_verb = any(doc[i].pos_ in ("VERB", "AUX") for i in inside)
        _add_clauses(doc, starts, end) if has_verb else _add_fragments(doc, starts, end)
        start = _word_behind(doc, end)
        if start is not None and start > starts[-1] and _has_word(doc, starts[-1], end):
            starts.append(start)
    return starts


def _add_clauses(doc: Doc, starts: list[int], end: int) -> None:
    """Add the clauses of a sentence, whose first one is there."""
    for mark in range(starts[-1], end):
        joins = doc[mark].text in _JOINTS and _stands_apart(doc, mark)
        if not joins and doc[mark].lower_ not in _JOINERS:
            continue
        start = _word_behind(doc, mark)
        if (
            start is not None
            and starts[-1] < start < end
            and _has_word(doc, starts[-1], mark)
            and _are_clauses(doc, starts[-1], mark, start)
        ):
            starts.append(start)


def _add_fragments(doc: Doc, starts: list[int], end: int) -> None:
    """Add the fragments of a sentence without a verb, if all are of one form.

    Either each is a noun phrase, the later ones with an article or a number, and nothing else; or
    each has a preposition behind its noun, the same one in all of them or those that say where
    something is. In `a room with a sofa, a lamp on a table` the lamp belongs to the room.
    """
    begins = [starts[-1]]
    for mark in range(starts[-1], end):
        start = _word_behind(doc, mark)
        is_joint = doc[mark].text in _JOINTS and _stands_apart(doc, mark)
        if is_joint and start is not None and begins[-1] < start < end:
            begins.append(start)
    if len(begins) == 1 or any(_is_pronoun(w) or _is_possessive(w) for w in doc[begins[0] : end]):
        return
    if not any(word.pos_ == "ADP" for word in doc[begins[0] : end]):
        starts += [b for b in begins[1:] if _is_counted(doc, b)]
        return
    found = {_preposition(doc, begin) for begin in begins}
    if "" in found or (len(found) > 1 and found & _PARTS) or found == {"of"}:
        return
    for word in range(begins[0], end):
        if doc[word].lower_ in _JOINERS and _preposition(doc, word + 1) in found:
            begins.append(word + 1)
    starts += sorted(begins)[1:]


def _is_counted(doc: Doc, start: int) -> bool:
    """Whether a noun phrase with an article or a number begins here."""
    return doc[start].pos_ in ("DET", "NUM") and _is_noun(doc[_behind_noun_phrase(doc, start) - 1])


def _preposition(doc: Doc, start: int) -> str:
    """The preposition behind the noun phrase that begins here, such as `with`; else nothing."""
    behind = _behind_noun_phrase(doc, start)
    if not start < behind < len(doc) or not _is_noun(doc[behind - 1]):
        return ""
    return doc[behind].lower_ if doc[behind].pos_ == "ADP" else ""


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
        if not (doc[token].is_punct or doc[token].is_space or doc[token].text in _JOINTS):
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
    if verb is None or (doc[mark].lower_ in _JOINERS and not _has_object(doc, verb)):
        return False  # the network reads intransitive verbs better beside the clause before
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


def _has_object(doc: Doc, verb: int) -> bool:
    """Whether a noun phrase follows a verb: who reads a book is hardly what another one holds."""
    return _behind_noun_phrase(doc, verb + 1) > verb + 1


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
