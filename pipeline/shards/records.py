"""The records of shards: the regions of one image, and one parsed caption.

R regions, D feature width, P relations of an image; W tokens of a caption.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class ImageRegions:
    """The regions of one image. A field that the detector or imported file lacks is None.

    Attributes:
        image_id: unique in its data set.
        features: `[R, D]`, what the detector's box predictor sees of each region.
        boxes: `[R, 4]` corners (x0, y0, x1, y1) in pixels of the original image.
        image_size: height and width of the original image in pixels.
        labels: `[R]` index of each region's class in the detector's names; no background class.
        scores: `[R]` probability of that class, in [0, 1].
        attributes: `[R]` index of the most probable attribute.
        attribute_scores: `[R]` its probability.
        relations: `[P, 3]` subject region, predicate (index in the detector's names), object
            region.
        relation_scores: `[P]` probability of each relation.
    """

    image_id: str
    features: Floats
    boxes: Floats | None = None
    image_size: tuple[int, int] | None = None
    labels: Ints | None = None
    scores: Floats | None = None
    attributes: Ints | None = None
    attribute_scores: Floats | None = None
    relations: Ints | None = None
    relation_scores: Floats | None = None


@dataclass(frozen=True)
class CaptionSpan:
    """Tokens `start` up to `end` (exclusive) of a caption and their normalised string.

    A predicate with no word of its own (`leg of the man` gives `have`) spans (-1, -1).
    """

    start: int
    end: int
    string: str


@dataclass(frozen=True)
class CaptionTriple:
    """A relation `(subject, predicate, object)`, or an attribute `(subject, is, attribute)`.

    Attributes:
        subject: index in the caption's objects.
        predicate: the relation's words in lemma form.
        object: index in the caption's objects; -1 where `attribute` is given.
        attribute: the attribute, or None for a relation.
        rule: name of the rule or component that made the triple.
    """

    subject: int
    predicate: CaptionSpan
    object: int
    attribute: CaptionSpan | None
    rule: str


@dataclass(frozen=True)
class ParsedCaption:
    """One caption: its text, its tokens with their dependency arcs, its objects and triples.

    Attributes:
        caption_id: unique in its data set, `image#k` where the data set has no ids of its own.
        image_id: the image that it describes.
        text: the original text.
        forms: `[W]` the tokens.
        lemmas: `[W]` their lemmas.
        pos: `[W]` their universal parts of speech.
        heads: `[W]` index of each token's head in this caption; a root is its own head.
        deprels: `[W]` the label of the arc from the head.
        objects: the things that the caption names, including those without a relation.
        triples: relations and attributes of the objects; what the caption denies is left out.
        negated: whether the caption denies something (`a man with no hat`).
    """

    caption_id: str
    image_id: str
    text: str
    forms: tuple[str, ...] = ()
    lemmas: tuple[str, ...] = ()
    pos: tuple[str, ...] = ()
    heads: tuple[int, ...] = ()
    deprels: tuple[str, ...] = ()
    objects: tuple[CaptionSpan, ...] = ()
    triples: tuple[CaptionTriple, ...] = ()
    negated: bool = False


@dataclass(frozen=True)
class Failure:
    """An image or a caption without a record, and the reason as a sentence."""

    id: str
    reason: str
