"""Draw sentences of several clauses, with their graphs, from pieces of annotated captions."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from pipeline.parsing.training.examples import (
    Example,
)
from pipeline.parsing.training.pieces import (
    DETERMINERS,
    SUBJECT,
    Parts,
    Piece,
    Sentence,
    bare_words,
    numbered,
    only_object,
    parts_of,
    preceded,
    written_pieces,
)
from pipeline.parsing.training.verbs import past_participle, present

NUMERALS = ("two", "three", "four", "five", "six", "two", "three", "two", "seven", "ten", "2", "3")
"""As often as captions have them."""

_NOBODY = (
    "with nobody in it",
    "with no one on it",
    "with nothing on it",
    "with no people around",
    "without anybody in it",
    "that has no people in it",
)
_MALE, _FEMALE = frozenset(("man", "boy", "guy")), frozenset(("woman", "girl", "lady"))


class Composer:
    """Draws sentences.

    Args:
        parts: FACTUAL's phrases.
        lemma: gives the lemma of a participle.
        random_: draws.
    """

    def __init__(self, parts: Parts, lemma: Callable[[str], str], random_: random.Random) -> None:
        self.parts, self.lemma, self.random = parts, lemma, random_
        written = written_pieces()
        self.written_people, self.worn = written["people"], written["worn"]
        self.written_actions, self.written_places = written["actions"], written["places"]
        self.templates = (
            (self.plain, 4), (self.two_verbs, 3), (self.fronted, 5), (self.inverted, 2),
            (self.two_clauses, 5), (self.several_subjects, 2), (self.list_of_things, 2),
            (self.denying, 4), (self.passive, 1), (self.with_another, 2), (self.same_person, 2),
            (self.there_is, 2), (self.spoken_of, 2),
        )  # fmt: skip

    def draw(self) -> Sentence:
        """A sentence."""
        makers = [maker for maker, _ in self.templates]
        weights = [weight for _, weight in self.templates]
        sentence = self.random.choices(makers, weights)[0](Sentence())
        if self.random.random() < 0.5:
            sentence.say(".")
        return sentence

    # parts

    def _one_of(self, *choices: str) -> str:
        return self.random.choice(choices)

    def person(self) -> Piece:
        """A person or several, with attributes or a numeral."""
        if self.random.random() < 0.7:
            piece = self.random.choice(self.written_people)
        else:
            piece = self.random.choice(self.parts.people)
        return self.determined(piece)

    def thing(self) -> Piece:
        """Any noun phrase."""
        return self.determined(self.random.choice(self.parts.nouns))

    def determined(self, piece: Piece) -> Piece:
        """The phrase with a determiner or a numeral, if it has none."""
        first = piece.words[0]
        if first in DETERMINERS:
            return piece
        if piece.is_plural:
            if "of" in piece.words[:3]:
                return preceded(piece, "a")
            if first in NUMERALS or self.random.random() < 0.35:
                return piece
            if self.random.random() < 0.6:
                return numbered(piece, self.random.choice(NUMERALS))
            return preceded(piece, self._one_of("the", "some", "several"))
        article = "an" if first[0] in "aeiou" else "a"
        return preceded(piece, self._one_of(article, article, article, "the"))

    def action(self) -> Piece:
        """What people do."""
        if self.random.random() < 0.4:
            return self.random.choice(self.written_actions)
        return self.random.choice(self.parts.actions)

    def place(self) -> Piece:
        """Where something is, with its predicate to `SUBJECT`."""
        if self.random.random() < 0.6:
            return self.random.choice(self.written_places)
        return self.random.choice(self.parts.places)

    def finite(self, action: Piece, plural: bool) -> Piece:
        """`riding a horse` as `rides a horse`, `is riding a horse`, or as it is."""
        choice = self.random.random()
        if choice < 0.45:
            verb = present(action.words[0], self.lemma(action.words[0]), plural)
            return replace(action, words=(verb, *action.words[1:]))
        if choice < 0.85:
            return preceded(action, "are" if plural else "is")
        return action

    def clause(self, sentence: Sentence) -> list[int]:
        """A subject with its verb phrase; returns the subject's node."""
        if self.random.random() < 0.8:
            person = self.person()
            subject, plural = [sentence.add(person)], person.is_plural
            sentence.add(self.finite(self.action(), plural), subject)
        else:
            noun, action = self.random.choice(self.parts.other_actions)
            noun = self.determined(noun)
            subject = [sentence.add(noun)]
            sentence.add(self.finite(action, noun.is_plural), subject)
        return subject

    def worn_by(self, sentence: Sentence, subject: Sequence[int]) -> None:
        """`in a red shirt`, `wearing a hat`."""
        clothes = self.random.choice(self.worn)
        sentence.say(self._one_of("in", "wearing", "wearing", "dressed in", "with"))
        sentence.add(replace(clothes, relations=((SUBJECT, "wear", clothes.root),)), subject)

    # templates

    def plain(self, sentence: Sentence) -> Sentence:
        """One clause, its subject perhaps dressed, perhaps somewhere."""
        person = self.person()
        subject = [sentence.add(person)]
        if self.random.random() < 0.6:
            self.worn_by(sentence, subject)
        sentence.add(self.finite(self.action(), person.is_plural), subject)
        if self.random.random() < 0.3:
            sentence.add(self.place(), subject)
        return sentence

    def two_verbs(self, sentence: Sentence) -> Sentence:
        """`a man wearing a hat rides a horse and waves`, `a man sits, reading a book`."""
        person = self.person()
        subject = [sentence.add(person)]
        if self.random.random() < 0.5:
            sentence.say(self._one_of("", "who is", "that is") if not person.is_plural else "")
            sentence.add(self.action(), subject)
            return self._ended(sentence, self.finite(self.action(), person.is_plural), subject)
        sentence.add(self.finite(self.action(), person.is_plural), subject)
        joint = self._one_of("and", "and", ",", "while", "")
        sentence.say(joint)
        second = self.action()
        if joint == "and":
            verb = present(second.words[0], self.lemma(second.words[0]), person.is_plural)
            if self.random.random() < 0.5:
                second = replace(second, words=(verb, *second.words[1:]))
        return self._ended(sentence, second, subject)

    def _ended(self, sentence: Sentence, piece: Piece, subject: Sequence[int]) -> Sentence:
        sentence.add(piece, subject)
        return sentence

    def fronted(self, sentence: Sentence) -> Sentence:
        """`On a bench, a man sits`, `in a park a man rides a bike`."""
        place = self.place()
        comma = self._one_of(",", ",", "")
        node = sentence.add(
            replace(place, relations=tuple(r for r in place.relations if r[0] != SUBJECT))
        )
        sentence.say(comma)
        if self.random.random() < 0.6:
            subject = self.clause(sentence)
        else:
            person = self.person()
            verb = self._one_of("sitting", "standing", "lying", "waiting", "sleeping", "walking",
                                "playing", "dancing", "running", "posing", "jumping")  # fmt: skip
            if self.random.random() < 0.25:
                sentence.say("there are" if person.is_plural else "there is")
                subject = [sentence.add(person)]
                sentence.say(verb)
            else:
                subject = [sentence.add(person)]
                sentence.add(self.finite(Piece((verb,)), person.is_plural))
            lemma = self.lemma(verb)
            for _, predicate, object_ in (r for r in place.relations if r[0] == SUBJECT):
                sentence.relations.append(
                    (subject[0], f"{lemma} {predicate}", object_ + node - place.root)
                )
            return sentence
        for _, predicate, object_ in (r for r in place.relations if r[0] == SUBJECT):
            sentence.relations.append((subject[0], predicate, object_ + node - place.root))
        return sentence

    def inverted(self, sentence: Sentence) -> Sentence:
        """`on the table is a cup`, `behind the people stand two horses`."""
        place = self.place()
        node = sentence.add(
            replace(place, relations=tuple(r for r in place.relations if r[0] != SUBJECT))
        )
        noun = self.person() if self.random.random() < 0.3 else self.thing()
        verb = self._one_of("", "", "sitting", "standing", "hanging", "lying")
        if not verb:
            said = self._one_of("{be}", "there {be}", ", there {be}")
        else:
            said = present(verb, self.lemma(verb), noun.is_plural)
        sentence.say(said.format(be="are" if noun.is_plural else "is"))
        subject = sentence.add(noun)
        lemma = f"{self.lemma(verb)} " if verb else ""
        for _, predicate, object_ in (r for r in place.relations if r[0] == SUBJECT):
            sentence.relations.append((subject, lemma + predicate, object_ + node - place.root))
        return sentence

    def two_clauses(self, sentence: Sentence) -> Sentence:
        """`a man reads and a woman sleeps`."""
        self.clause(sentence)
        sentence.say(self._one_of("and", "while", "as", ", and", ", while", ",", "and"))
        self.clause(sentence)
        return sentence

    def several_subjects(self, sentence: Sentence) -> Sentence:
        """`a man and a woman ride horses`: said of both."""
        subjects = [sentence.add(self.person())]
        if self.random.random() < 0.2:
            sentence.say(",")
            subjects.append(sentence.add(self.person()))
            if self.random.random() < 0.5:
                sentence.say(",")
        sentence.say("and")
        subjects.append(sentence.add(self.person()))
        return self._ended(sentence, self.finite(self.action(), plural=True), subjects)

    def list_of_things(self, sentence: Sentence) -> Sentence:
        """`a man wearing a hat, a blue shirt and jeans`."""
        person = self.person()
        subject = [sentence.add(person)]
        sentence.say(self._one_of("wearing", "in", "wears", "is wearing"))
        clothes = self.random.sample(self.worn, self.random.choice((2, 2, 3)))
        for i, piece in enumerate(clothes):
            if i:
                sentence.say("and" if i == len(clothes) - 1 else ",")
            sentence.add(replace(piece, relations=((SUBJECT, "wear", piece.root),)), subject)
        if sentence.words[-1] != "wears" and self.random.random() < 0.5:
            sentence.add(self.finite(self.action(), person.is_plural), subject)
        return sentence

    def denying(self, sentence: Sentence) -> Sentence:
        """What is not there is nothing: `a man without a hat rides`, `with nobody in it`."""
        clothes = " ".join(bare_words(self.random.choice(self.worn)))
        place = self.place()
        if self.random.random() < 0.15:
            sentence.say(
                self._one_of("nobody is", "there is nobody", "there is no one", "nothing is")
            )
            sentence.add(
                replace(place, relations=tuple(r for r in place.relations if r[0] != SUBJECT))
            )
            return sentence
        if self.random.random() < 0.2:
            noun = self.thing()
            subject = [sentence.add(noun)]
            sentence.say(self._one_of(*_NOBODY))
            return self._ended(sentence, place, subject) if self.random.random() < 0.5 else sentence
        person = self.person()
        subject = [sentence.add(person)]
        denied = self._one_of(
            f"with no {clothes}", f"without a {clothes}", f"without any {clothes}",
            f"not wearing a {clothes}", f"wearing no {clothes}", f"without {clothes}",
            f"who is not wearing a {clothes}", f"in no {clothes}", f"with no {clothes} on",
            "with nothing in his hands", f"who does n't have a {clothes}")  # fmt: skip
        if self.random.random() < 0.25:
            action = self.action()
            sentence.say("are" if person.is_plural else "is")
            sentence.say(self._one_of("not", "n't"))
            sentence.say(" ".join(action.words))
            return sentence
        if self.random.random() < 0.4:
            self.worn_by(sentence, subject)
            sentence.say(self._one_of("and", "but"))
        sentence.say(denied)
        if self.random.random() < 0.85:
            sentence.add(self.finite(self.action(), person.is_plural), subject)
        return sentence

    def passive(self, sentence: Sentence) -> Sentence:
        """`a horse is being led by a man` is `(man, lead, horse)`."""
        for _ in range(50):
            action = self.action()
            if len(action.relations) == 1 and " " not in action.relations[0][1]:
                break
        else:
            return self.plain(sentence)
        (_, verb, _) = action.relations[0]
        thing = only_object(action)
        if thing is None or not verb.isalpha():
            return self.plain(sentence)
        node = sentence.add(thing)
        sentence.say(self._one_of("is", "being", "is being") if not thing.is_plural else "are")
        sentence.say(past_participle(verb)).say("by")
        person = sentence.add(self.person())
        sentence.relations.append((person, verb, node))
        return sentence

    def with_another(self, sentence: Sentence) -> Sentence:
        """`a man sits, with a dog lying on the grass`: the dog lies."""
        self.clause(sentence)
        sentence.say(self._one_of("with", ", with", "next to"))
        if sentence.words[-1] == "to":
            sentence.words[-2:] = [",", "with"]
        self.clause_without_finite(sentence)
        return sentence

    def clause_without_finite(self, sentence: Sentence) -> None:
        """A subject and a participle, or a place."""
        person = self.person() if self.random.random() < 0.5 else self.thing()
        subject = [sentence.add(person)]
        if person.is_person and self.random.random() < 0.6:
            sentence.add(self.action(), subject)
        elif len(person.relations) == 0:
            sentence.add(self.place(), subject)

    def same_person(self, sentence: Sentence) -> Sentence:
        """`a boy runs while he holds a ball`: the boy holds it."""
        people = [p for p in self.written_people if p.noun in _MALE | _FEMALE]
        person = self.determined(self.random.choice(people))
        subject = [sentence.add(person)]
        sentence.add(self.finite(self.action(), plural=False), subject)
        pronoun = "he" if person.noun in _MALE else "she"
        sentence.say(self._one_of("while", "as", "and")).say(pronoun)
        second = self.finite(self.action(), plural=False)
        return self._ended(sentence, second, subject)

    def there_is(self, sentence: Sentence) -> Sentence:
        """`there is a man riding a horse`."""
        person = self.person()
        sentence.say(self._one_of("there", "here", "there")).say(
            "are" if person.is_plural else "is"
        )
        subject = [sentence.add(person)]
        if self.random.random() < 0.5:
            self.worn_by(sentence, subject)
        return self._ended(sentence, self.action(), subject)

    def spoken_of(self, sentence: Sentence) -> Sentence:
        """`a man stands next to a woman who is holding a bag`: she holds it."""
        one, other = self.person(), self.person()
        subject = sentence.add(one)
        verb = self._one_of("standing", "sitting", "walking", "", "posing")
        near = self._one_of("next to", "beside", "behind", "near", "with", "in front of")
        if verb:
            sentence.add(self.finite(Piece((verb,)), one.is_plural))
        sentence.say(near)
        node = sentence.add(other)
        predicate = f"{self.lemma(verb)} {near}" if verb else near
        sentence.relations.append((subject, predicate.replace("beside", "next to"), node))
        if self.random.random() < 0.5:
            sentence.say(self._one_of("who", "that")).say("are" if other.is_plural else "is")
        return self._ended(sentence, self.action(), [node])


def compose(
    examples: Sequence[Example], lemma: Callable[[str], str], count: int, seed: int
) -> list[Sentence]:
    """Sentences of distinct nodes; what cannot be read from its words is drawn again."""
    composer = Composer(parts_of(examples, lemma), lemma, random.Random(seed))
    sentences = []
    while len(sentences) < count:
        sentence = composer.draw()
        if len(sentence.words) <= 40:
            sentences.append(sentence)
    return sentences
