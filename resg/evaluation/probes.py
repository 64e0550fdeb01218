"""Ablation probes: score a run on perturbed captions and graphs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.shards.records import ParsedCaption
from resg.data.splits import SplitReaders
from resg.data.subwords import make_tokeniser
from resg.data.swapping import swapped_text
from resg.data.tables import CaptionTable
from resg.evaluation.hard_pairs import hard_pair_accuracy, read_hard_pairs, without_left_out
from resg.evaluation.ranking import score_matrix_metrics
from resg.evaluation.scoring import image_of_caption, score_matrix
from resg.models.matcher import Matcher
from resg.run_folder import RunFolder, load_matcher

Parse = Callable[[Sequence[str]], list[ParsedCaption]]


@dataclass(frozen=True)
class ProbeReport:
    """Results of a run on perturbed captions and graphs.

    Attributes:
        data: the `split`, its `images` and `captions`, and what is `left_out`.
        rsum: name of the perturbation (`as trained`, `edges removed`, `words shuffled`) to rSum.
        relation_swap: share of captions, in percent, that score above themselves with subject and
            object exchanged; None where no caption has a relation.
        num_swapped: how many captions that is a share of.
        hard_pairs: accuracy by relation, None where no pairs were given.
    """

    data: dict[str, Any]
    rsum: dict[str, float]
    relation_swap: float | None
    num_swapped: int
    hard_pairs: dict[str, float] | None


def probe_run(
    run: RunFolder,
    split: str,
    device: torch.device,
    parse: Parse,
    shards: Path | None = None,
    pairs: Path | None = None,
) -> ProbeReport:
    """Score a split as it is and perturbed.

    Args:
        run: a trained run.
        split: which split.
        device: where the model runs.
        parse: the parser of the run's captions, for the perturbed ones.
        shards: folder of the shards, if not the one of training.
        pairs: a file of hard pairs.
    """
    readers = SplitReaders.open(run.shards_in(shards), split)
    run.check_fingerprints(readers.fingerprints())
    tables = readers.tables(run.settings, run.vocabulary, device)
    matcher = load_matcher(run, device)
    captions = readers.parsed_captions()
    scores = score_matrix(matcher, tables.images, tables.captions, device)
    owner = image_of_caption(tables.captions)

    def rsum_of(model: Matcher, table: CaptionTable) -> float:
        return score_matrix_metrics(score_matrix(model, tables.images, table, device), owner).rsum

    def table_of(changed: Sequence[ParsedCaption], kinds: tuple[str, ...]) -> CaptionTable:
        return CaptionTable(
            changed,
            tables.images.row,
            run.vocabulary,
            kinds,
            make_tokeniser(run.settings.model.text.encoder),
        )

    kinds = run.settings.model.textual_graph.edges
    shuffled = _parse_again(captions, _shuffled_texts(captions, run.settings.train.seed), parse)
    rsum = {
        "as trained": score_matrix_metrics(scores, owner).rsum,
        "edges removed": rsum_of(_without_edges(run, matcher), table_of(captions, ())),
        "words shuffled": rsum_of(matcher, table_of(shuffled, kinds)),
    }
    texts = {c: text for c, caption in enumerate(captions) if (text := swapped_text(caption))}
    share = None
    if texts:
        chosen = [captions[c] for c in texts]
        table = table_of(_parse_again(chosen, list(texts.values()), parse), kinds)
        swapped = score_matrix(matcher, tables.images, table, device)
        rows = image_of_caption(table)
        is_won = scores[rows, list(texts)] > swapped[rows, np.arange(len(rows))]
        share = 100.0 * float(np.mean(is_won))
    data = {"split": split, **tables.counts()}
    hard = None
    if pairs is not None:
        told = read_hard_pairs(pairs, split)
        scored = without_left_out(told, tables)
        hard = hard_pair_accuracy(scores, tables, scored)
        data["left_out"]["hard_pairs"] = len(told) - len(scored)
    return ProbeReport(data, rsum, share, len(texts), hard)


def _shuffled_texts(captions: Sequence[ParsedCaption], seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.permutation(caption.forms)) for caption in captions]


def _parse_again(
    captions: Sequence[ParsedCaption], texts: Sequence[str], parse: Parse
) -> list[ParsedCaption]:
    return [
        replace(parsed, caption_id=caption.caption_id, image_id=caption.image_id)
        for caption, parsed in zip(captions, parse(texts), strict=True)
    ]


def _without_edges(run: RunFolder, matcher: Matcher) -> Matcher:
    """The same weights, but no visual edges are built; its captions must have no edges either."""
    visual = run.settings.model.visual_graph.model_copy(update={"edges": ()})
    settings = run.settings.model.model_copy(update={"visual_graph": visual})
    bare = Matcher(settings, run.vocabulary, run.feature_width, pretrained=False)
    bare.load_state_dict(matcher.state_dict())
    return bare.to(next(matcher.parameters()).device).eval()
