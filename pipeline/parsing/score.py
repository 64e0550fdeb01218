"""Score parsed triples against gold ones: set match and SPICE F1, on strings.

Both compare lower-cased strings without synonyms. Set match asks whether a caption's triples are
exactly gold's. SPICE F1 (Anderson et al. 2016, eq. 4, without WordNet) compares the tuples that the
triples say: objects, (object, attribute) pairs and relations.
"""

import csv
import gzip
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DataError

Strings = tuple[str, ...]
"""A triple `(s, r, o)`, an attribute `(s, "is", a)`, or `(s,)`, an object without either."""

_ITEM_BOUNDARY = re.compile(r"\)\s*,?\s*\(")


@dataclass(frozen=True)
class GoldCaption:
    """A caption and the triples that it should give."""

    caption: str
    triples: tuple[Strings, ...]


@dataclass(frozen=True)
class Scores:
    """Two measures over a set of captions, each from 0 to 100, and the number of captions."""

    set_match: float
    spice_f1: float
    captions: int


def read_gold(path: Path) -> Iterator[GoldCaption]:
    """Rows of a FACTUAL file: CSV, gzip or plain, with the columns `caption` and `scene_graph`.

    Raises:
        DataError: a column is missing, or a scene graph cannot be read; the message says where.
    """
    open_text = gzip.open if path.suffix == ".gz" else open
    with open_text(path, "rt", encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        missing = {"caption", "scene_graph"} - set(reader.fieldnames or ())
        if missing:
            raise DataError(
                f"{path} has no column {', '.join(sorted(missing))}; it has "
                f"{', '.join(reader.fieldnames or ()) or 'none'}. Give a CSV file like FACTUAL's."
            )
        for row in reader:
            try:
                triples = parse_scene_graph(row["scene_graph"])
            except ValueError as error:
                raise DataError(f"{path}, line {reader.line_num}: {error}") from error
            yield GoldCaption(row["caption"], triples)


def parse_scene_graph(text: str) -> tuple[Strings, ...]:
    """The triples of `( man , ride , horse ) , ( horse , is , brown )`.

    Args:
        text: items in round brackets, each of one or three fields divided by commas; spaces around
            brackets and commas do not matter. A comma inside a word (`1,000`) divides nothing.

    Raises:
        ValueError: an item has another number of fields, or a field is empty.
    """
    text = text.strip()
    if not text:
        return ()
    if not (text.startswith("(") and text.endswith(")")):
        raise ValueError(f"expected ( s , r , o ) , ..., got {text!r}")
    return tuple(_fields(item) for item in _ITEM_BOUNDARY.split(text[1:-1]))


def _fields(item: str) -> Strings:
    fields = re.split(r"\s+,\s*|\s*,\s+", item.strip())
    if len(fields) == 1 and item.count(",") == 2:
        fields = item.split(",")
    fields = tuple(" ".join(field.split()) for field in fields)
    if len(fields) not in (1, 3) or not all(fields):
        raise ValueError(f"expected ( s , r , o ) or ( s ), got ( {item.strip()} )")
    return fields


def normalised(triples: Iterable[Strings]) -> frozenset[Strings]:
    """The set of the triples with every string in lower case and single spaces."""
    return frozenset(tuple(" ".join(s.lower().split()) for s in triple) for triple in triples)


def spice_tuples(triples: Iterable[Strings]) -> frozenset[Strings]:
    """What the triples say: `(object,)`, `(object, attribute)` and `(s, r, o)`.

    A triple whose relation is `is` is an attribute: its third string is no object.
    """
    tuples: set[Strings] = set()
    for triple in normalised(triples):
        tuples.add(triple[:1])
        if len(triple) == 3 and triple[1] == "is":
            tuples.add((triple[0], triple[2]))
        elif len(triple) == 3:
            tuples |= {triple[2:], triple}
    return frozenset(tuples)


def spice_f1(parsed: Iterable[Strings], gold: Iterable[Strings]) -> float:
    """F1 of one caption's tuples, from 0 to 1; two empty sets agree."""
    ours, theirs = spice_tuples(parsed), spice_tuples(gold)
    if not ours and not theirs:
        return 1.0
    return 2 * len(ours & theirs) / (len(ours) + len(theirs))


def score(parsed: Collection[Iterable[Strings]], gold: Collection[Iterable[Strings]]) -> Scores:
    """Set match and SPICE F1 over captions.

    Args:
        parsed: each caption's triples.
        gold: what they should be, in the same order.

    Raises:
        ValueError: there are no captions, or not as many parsed as gold ones.
    """
    if len(parsed) != len(gold) or not gold:
        raise ValueError(f"expected as many captions as gold ones, got {len(parsed)}, {len(gold)}")
    pairs = [(list(p), list(g)) for p, g in zip(parsed, gold, strict=True)]
    matches = sum(normalised(p) == normalised(g) for p, g in pairs)
    f1 = sum(spice_f1(p, g) for p, g in pairs)
    return Scores(100 * matches / len(pairs), 100 * f1 / len(pairs), len(pairs))
