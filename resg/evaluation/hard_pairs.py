"""Hard pairs: accuracy on captions against captions that differ only in a relation."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resg.data.splits import SplitTables
from resg.errors import ResgError


@dataclass(frozen=True)
class HardPair:
    """A caption and a wrong one that differs only in a relation or in its direction.

    Attributes:
        image_id: the image.
        caption_id: the caption that is true of it.
        wrong_caption_id: the caption that is not, of the same split.
        relation: the kind of relation in which they differ.
    """

    image_id: str
    caption_id: str
    wrong_caption_id: str
    relation: str


def read_hard_pairs(path: Path, split: str) -> list[HardPair]:
    """Hard pairs of a split, as `pipeline make-scenes` writes them.

    Raises:
        ResgError: the file holds none of that split, or is not such a file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        pairs = [
            HardPair(*(pair[name] for name in HardPair.__dataclass_fields__))
            for pair in content["pairs"]
            if pair["split"] == split
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResgError(
            f"expected hard pairs in {path}, got {type(error).__name__}: {error}. "
            "make-scenes writes them as hard_pairs.json."
        ) from error
    if not pairs:
        raise ResgError(f"expected hard pairs of split {split!r} in {path}, there are none.")
    return pairs


def without_left_out(pairs: Sequence[HardPair], tables: SplitTables) -> list[HardPair]:
    """The pairs whose two captions are scored: their images have regions.

    Raises:
        ResgError: there are none.
    """
    left_out = set(tables.left_out.caption_ids)
    kept = [pair for pair in pairs if not left_out & {pair.caption_id, pair.wrong_caption_id}]
    if not kept:
        raise ResgError(
            f"expected hard pairs of images with regions, got {len(pairs)} whose images have none. "
            "Extract the regions of their images, or leave out --pairs."
        )
    return kept


def hard_pair_accuracy(
    scores_IC: NDArray[np.floating[Any]], tables: SplitTables, pairs: Sequence[HardPair]
) -> dict[str, float]:
    """Share of pairs, in percent, whose true caption scores higher: by relation, and of `all`.

    A tie counts as wrong.

    Args:
        scores_IC: `[I, C]` scores of the split.
        tables: of the same split.
        pairs: which captions to compare.

    Raises:
        ResgError: a pair is not of this data.
    """
    column = {caption_id: c for c, caption_id in enumerate(tables.caption_ids)}
    won: dict[str, list[bool]] = {"all": []}
    for pair in pairs:
        if pair.image_id not in tables.images.row or not (
            {pair.caption_id, pair.wrong_caption_id} <= column.keys()
        ):
            raise ResgError(
                f"expected hard pairs of the images and captions of this split, got {pair}. "
                "Give the hard_pairs.json of the data that the shards were made of."
            )
        scores_C = scores_IC[tables.images.row[pair.image_id]]
        is_won = bool(scores_C[column[pair.caption_id]] > scores_C[column[pair.wrong_caption_id]])
        won["all"].append(is_won)
        won.setdefault(pair.relation, []).append(is_won)
    return {relation: 100.0 * float(np.mean(results)) for relation, results in won.items()}
