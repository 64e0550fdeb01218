"""Ablation probes: score a run on perturbed captions and graphs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.shards.records import CaptionSpan, ParsedCaption
from resg.data.splits import SplitReaders
from resg.data.subwords import make_tokeniser
from resg.data.tables import CaptionTable
from resg.evaluation.hard_pairs import hard_pair_accuracy, read_hard_pairs, without_left_out
from resg.evaluation.ranking import score_matrix_metrics
from resg.evaluation.scoring import image_of_caption, score_matrix
from resg.graphs.textual import span_head
from resg.models.matcher import Matcher
from resg.run_folder import RunFolder, load_matcher

JOINING = ("ADP", "CCONJ", "SCONJ", "PUNCT")
"""Parts of speech that stand between the things of a relation, whatever they depend on."""

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


def swapped_text(caption: ParsedCaption) -> str | None:
    """The caption with subject and object of its first relation exchanged; None without a relation.

    Each is taken with what stands before its head and depends on it, but for what belongs to the
    relation: `a red dog sits under the table` becomes `the table sits under a red dog`.
    """
    for triple in caption.triples:
        if triple.attribute is not None:
            continue
        first, second = sorted(
            _phrase(caption, caption.objects[number], triple.predicate)
            for number in (triple.subject, triple.object)
        )
        if first[1] <= second[0]:
            words = caption.forms
            swapped = (
                *words[: first[0]],
                *words[slice(*second)],
                *words[first[1] : second[0]],
                *words[slice(*first)],
                *words[second[1] :],
            )
            text = " ".join(swapped)
            if text.lower() != " ".join(words).lower():
                return text
    return None


def _phrase(caption: ParsedCaption, span: CaptionSpan, predicate: CaptionSpan) -> tuple[int, int]:
    """Start and end of a span with the dependents before it, as long as they are contiguous.

    In Universal Dependencies a preposition depends on the noun after it; it is no part of it here.
    """
    head = span_head(span, caption.heads)
    start = span.start
    while (
        start > 0
        and _depends(start - 1, head, caption.heads)
        and caption.pos[start - 1] not in JOINING
        and not predicate.start <= start - 1 < predicate.end
    ):
        start -= 1
    return start, span.end


def _depends(token: int, head: int, heads: tuple[int, ...]) -> bool:
    for _ in heads:  # no longer than the caption, whatever the arcs are
        if heads[token] in (head, token):
            return heads[token] == head
        token = heads[token]
    return False


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
