"""The explanation of one pair: its score in parts, what edges did, and the nearest wrong caption.

R regions, W words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.shards.records import ImageRegions, ParsedCaption
from resg.data.batches import CaptionBatch, ImageBatch
from resg.data.subwords import make_tokeniser
from resg.data.tables import CaptionTable, ImageTable
from resg.data.vocabulary import END, START, Vocabulary
from resg.errors import ResgError
from resg.explain.leaving_out import EdgeEffects, edge_effects
from resg.explain.relations import textual_relation, visual_relation
from resg.explain.shares import NodeShares, node_shares
from resg.models.encoded import Encoded
from resg.models.matcher import Matcher
from resg.models.similarity import pair_settings
from resg.transfer import to_device

MAX_WORDS = 100
MAX_EDGES = 40
"""Pairs of regions, and of words, whose edges are left out; more would take seconds."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Relation:
    """What joining two nodes did to the score.

    Attributes:
        first: row of a node.
        second: row of the other.
        text: the relation in words.
        change: score with all edges less the score without those between the two.
    """

    first: int
    second: int
    text: str
    change: float


@dataclass(frozen=True)
class Relations:
    """What the edges of one graph did; changes add up to nothing.

    Attributes:
        tried: the relations that were left out in turn, the greatest change first.
        num_pairs: how many pairs of nodes are joined.
        together: score with all edges less the score without any.
    """

    tried: tuple[Relation, ...] = ()
    num_pairs: int = 0
    together: float = 0.0


@dataclass(frozen=True)
class ScoredCaption:
    """The score of one caption with the image, in parts.

    `score = global_part + shares.sum()`: the shares, times the weight of the node-level score, are
    its part of the whole score.

    Attributes:
        text: of the caption.
        words: `[W]` as they were written.
        is_known: `[W]` whether training had the word.
        score: what the matcher gives.
        global_part: what the cosine of the embeddings adds to it, its weight included.
        node_score: the node-level score.
        node_weight: its weight lambda in the score.
        words_attend: `[R, W]` shares of words that attend to regions, times `node_weight`.
        regions_attend: `[R, W]` shares of regions that attend to words, times `node_weight`.
    """

    text: str
    words: tuple[str, ...]
    is_known: tuple[bool, ...]
    score: float
    global_part: float
    node_score: float
    node_weight: float
    words_attend: Floats
    regions_attend: Floats

    @property
    def shares(self) -> Floats:
        """`[R, W]` shares of the score that are of nodes."""
        return self.words_attend + self.regions_attend

    @property
    def node_part(self) -> float:
        """What the node-level score adds to the score, its weight included."""
        return self.node_weight * self.node_score


@dataclass(frozen=True)
class Region:
    """A region of the explained image.

    Attributes:
        name: of its attribute and class, `region` where the detector has no names.
        box: corners (x0, y0, x1, y1) in pixels, or None.
    """

    name: str
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class Explanation:
    """Why an image and a caption match.

    Attributes:
        image_id: of the image.
        image_size: height and width in pixels, or None.
        regions: `[R]`.
        caption: the explained caption.
        visual: what the edges between regions did.
        textual: what the edges between words did.
        rivals: how many other captions were compared.
        wrong: the other caption with the highest score, or None where there is no other.
    """

    image_id: str
    image_size: tuple[int, int] | None
    regions: tuple[Region, ...]
    caption: ScoredCaption
    visual: Relations
    textual: Relations
    rivals: int
    wrong: ScoredCaption | None


def explain_pair(
    matcher: Matcher,
    vocabulary: Vocabulary,
    image: ImageRegions,
    caption: ParsedCaption,
    others: Sequence[ParsedCaption] = (),
    names: Mapping[str, Sequence[str]] | None = None,
) -> Explanation:
    """Explain the score of an image with a caption.

    Args:
        matcher: with the weights of a run.
        vocabulary: of the run.
        image: its regions.
        caption: the parsed caption.
        others: captions that do not describe the image; the one with the highest score is shown.
            Those with the same words are left out.
        names: names of the detector's classes, by dataset.

    Raises:
        ResgError: the image has no region, or a caption no word or more than 100.
    """
    own = tuple(form.lower() for form in caption.forms)
    rivals = [other for other in others if tuple(f.lower() for f in other.forms) != own]
    for each in (caption, *rivals):
        _check_words(each)
    if not len(image.features):
        raise ResgError(
            f"expected regions of image {image.image_id!r}, got none. Try another picture."
        )
    pair = _Pair.encode(matcher, vocabulary, image, [caption, *rivals])
    scores = matcher.score(pair.images, pair.captions)[0].cpu()
    nearest = 1 + int(scores[1:].argmax()) if rivals else None
    regions = _regions(image, names or {})
    scored = pair.scored(caption, 0)
    return Explanation(
        image_id=image.image_id,
        image_size=image.image_size,
        regions=regions,
        caption=scored,
        visual=pair.visual_relations(scored, [region.name for region in regions]),
        textual=pair.textual_relations(scored),
        rivals=len(rivals),
        wrong=None if nearest is None else pair.scored(rivals[nearest - 1], nearest),
    )


@dataclass(frozen=True)
class _Pair:
    """One image and some captions, the first of which is explained, encoded by a matcher."""

    matcher: Matcher
    vocabulary: Vocabulary
    image: ImageBatch
    caption: CaptionBatch
    images: Encoded
    captions: Encoded

    @classmethod
    @torch.inference_mode()
    def encode(
        cls,
        matcher: Matcher,
        vocabulary: Vocabulary,
        image: ImageRegions,
        captions: Sequence[ParsedCaption],
    ) -> "_Pair":
        device = next(matcher.parameters()).device
        settings = matcher.settings
        image_table = ImageTable([image], "map", device)
        caption_table = CaptionTable(
            captions,
            {caption.image_id: 0 for caption in captions},
            vocabulary,
            settings.textual_graph.edges,
            make_tokeniser(settings.text.encoder),
        )
        batch = to_device(image_table.batch(torch.zeros(1, dtype=torch.long)), device)
        if settings.graph.layers:
            batch = replace(batch, edges=matcher.visual_edges(batch))
        rows = torch.arange(len(captions))
        encoded = [
            matcher.encode_captions(to_device(caption_table.batch(part, part), device))
            for part in rows.split(256)
        ]
        first = to_device(caption_table.batch(rows[:1], rows[:1]), device)
        return cls(
            matcher,
            vocabulary,
            batch,
            first,
            matcher.encode_images(batch),
            Encoded.cat(encoded),
        )

    @torch.inference_mode()
    def scored(self, caption: ParsedCaption, row: int) -> ScoredCaption:
        """The score of one of the captions in parts."""
        encoded = self.captions.rows(row, row + 1)
        similarity = self.matcher.similarity
        if similarity.settings.match != "attended":
            raise ResgError(
                "explain shares out the score of attended nodes; this run was trained with "
                f"model.similarity.match={similarity.settings.match}. Explain one with `attended`."
            )
        settings = pair_settings(similarity.settings)
        num_regions, num_words = len(self.images.nodes), len(encoded.nodes)
        nothing = torch.zeros((num_regions, num_words), dtype=torch.float64)
        shares, weight = NodeShares(nothing, nothing), 0.0
        if settings is not None:
            shares = node_shares(self.images.nodes, encoded.nodes, settings)
            weight = 1.0 if similarity.mix is None else similarity.mix.sigmoid().item()
        global_score = (self.images.embeddings @ encoded.embeddings.T).item()
        has_boundaries = self.vocabulary.has_boundaries
        words = (START, *caption.forms, END) if has_boundaries else caption.forms
        index = self.vocabulary.word_index
        is_gru = self.matcher.settings.text.encoder == "gru"  # others read any word
        return ScoredCaption(
            text=caption.text,
            words=words,
            is_known=tuple(not is_gru or word.lower() in index for word in words),
            score=self.matcher.score(self.images, encoded).item(),
            global_part=(1 - weight) * global_score,
            node_score=shares.total.sum().item(),
            node_weight=weight,
            words_attend=(weight * shares.words_attend).cpu().numpy(),
            regions_attend=(weight * shares.regions_attend).cpu().numpy(),
        )

    @torch.inference_mode()
    def visual_relations(self, scored: ScoredCaption, names: Sequence[str]) -> Relations:
        """What the edges between regions did to the score."""
        if self.image.edges is None:
            return Relations()
        caption = self.captions.rows(0, 1)
        effects = edge_effects(
            self.matcher.region_nodes(self.image),
            self.image.edges,
            self.matcher.encode_visual_graph,
            lambda images: self.matcher.score(images, caption)[:, 0],
            torch.from_numpy(np.abs(scored.shares.sum(1))),
            MAX_EDGES,
        )
        return _relations(
            effects, [visual_relation(e, names, self.vocabulary) for e in effects.effects]
        )

    @torch.inference_mode()
    def textual_relations(self, scored: ScoredCaption) -> Relations:
        """What the edges between words did to the score."""
        if not self.matcher.settings.graph.layers:
            return Relations()
        effects = edge_effects(
            self.matcher.word_nodes(self.caption),
            self.caption.edges,
            self.matcher.encode_textual_graph,
            lambda captions: self.matcher.score(self.images, captions)[0],
            torch.from_numpy(np.abs(scored.shares.sum(0))),
            MAX_EDGES,
        )
        return _relations(
            effects, [textual_relation(e, scored.words, self.vocabulary) for e in effects.effects]
        )


def _relations(effects: EdgeEffects, texts: Sequence[str]) -> Relations:
    tried = (
        Relation(effect.first, effect.second, text, effect.change)
        for effect, text in zip(effects.effects, texts, strict=True)
    )
    return Relations(tuple(tried), effects.num_pairs, effects.together)


def _regions(image: ImageRegions, names: Mapping[str, Sequence[str]]) -> tuple[Region, ...]:
    boxes = [None] * len(image.features) if image.boxes is None else image.boxes.tolist()
    return tuple(
        Region(
            name=_region_name(image, row, names),
            box=None if box is None else (box[0], box[1], box[2], box[3]),
        )
        for row, box in enumerate(boxes)
    )


def _region_name(image: ImageRegions, row: int, names: Mapping[str, Sequence[str]]) -> str:
    """The class of a region and its attribute before it, such as `red circle`."""
    found = [
        names[dataset][int(indices[row])]
        for dataset, indices in (("attributes", image.attributes), ("labels", image.labels))
        if indices is not None and int(indices[row]) < len(names.get(dataset, ()))
    ]
    return " ".join(found) or "region"


def _check_words(caption: ParsedCaption) -> None:
    if not caption.forms:
        raise ResgError("expected a caption with words, got an empty one. Write a sentence.")
    if len(caption.forms) > MAX_WORDS:
        raise ResgError(
            f"expected a caption of at most {MAX_WORDS} words, got {len(caption.forms)}: "
            f"{caption.text[:60]!r}... Shorten it."
        )
