"""Train the `scene_graph` component and put it into a pipeline.

    python -m pipeline.parsing.training.scene_graph EXAMPLES MODEL OUT --device cuda

EXAMPLES is what `scene_graph_data` wrote, MODEL the spaCy pipeline whose arcs they hold; OUT gets
the same pipeline with the component at its end. The weights are an average over training (Polyak
and Juditsky 1992); after each epoch they are scored on the dev examples as they will be used.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from torch import Tensor
from torch.nn import functional as F

from pipeline.parsing.doc_triples import string_tuples
from pipeline.parsing.parser import RULES, load_parser
from pipeline.parsing.scene_graph.component import RULE, SceneGraph
from pipeline.parsing.scene_graph.features import Vocabulary
from pipeline.parsing.scene_graph.model import SceneGraphModel
from pipeline.parsing.scene_graph.network import SceneGraphNetwork
from pipeline.parsing.scene_graph.normal_forms import NormalForms
from pipeline.parsing.score import Scores, score
from pipeline.parsing.training.scene_graph_batches import (
    NO_TAG,
    ClosedSets,
    Targets,
    TrainingData,
)
from pipeline.parsing.training.scene_graph_data import Example, read_examples
from pipeline.parsing.training.scene_graph_net import Batch, SceneGraphNet


@dataclass(frozen=True)
class TrainSettings:
    """Settings of training.

    Attributes:
        epochs: passes over the examples.
        batch_size: captions per step.
        learning_rate: peak value for AdamW, reached after `warmup` steps; then cosine decay.
        warmup: number of steps.
        weight_decay: of AdamW.
        decay: of the exponential moving average of the weights.
        clip: maximum norm of the gradient.
    """

    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 2e-3
    warmup: int = 300
    weight_decay: float = 0.01
    decay: float = 0.998
    clip: float = 5.0


def loss_of(net: SceneGraphNet, batch: Batch, targets: Targets) -> Tensor:
    """Mean over captions of the summed losses of tags, pairs, heads and tails, in nats.

    A predicate's first word is copied from a token of the caption if one has it, and taken from the
    closed set otherwise.
    """
    tokens_BLd = net.encode(batch)
    tags = net.tags(tokens_BLd)
    loss = F.cross_entropy(
        tags.flatten(0, 1), targets.tags.flatten(), ignore_index=NO_TAG, reduction="sum"
    )
    if len(batch.pairs):
        loss = loss + _pair_loss(net, tokens_BLd, batch, targets)
    return loss / len(batch.lengths)


def _pair_loss(net: SceneGraphNet, tokens_BLd: Tensor, batch: Batch, targets: Targets) -> Tensor:
    pairs_Pd = net.pair_vectors(tokens_BLd, batch)
    joined = net.joined(pairs_Pd).gather(1, targets.is_attribute[:, None]).squeeze(1)
    loss = F.binary_cross_entropy_with_logits(joined, targets.is_joined.float(), reduction="sum")
    relations = (targets.heads >= 0).nonzero().squeeze(1)
    if not len(relations):
        return loss
    captions = batch.nodes[batch.pairs[relations, 0], 0]
    heads, lemmas = targets.heads[relations][:, None], targets.lemmas[captions]
    mask = torch.arange(lemmas.shape[1], device=lemmas.device) < batch.lengths[captions][:, None]
    scores = net.predicate_heads(pairs_Pd[relations], tokens_BLd[captions], mask)
    said = (lemmas == heads) & mask
    rows = torch.arange(net.settings.heads, device=heads.device)
    closed = (rows == heads) & ~said.any(1, keepdim=True)
    right = torch.cat([closed, said], 1)
    likelihood = torch.logsumexp(scores.masked_fill(~right, -1e9), 1)
    loss = loss - (likelihood * right.any(1)).sum()
    tails = net.tails(pairs_Pd[relations], relations, heads[:, 0], batch)
    return loss + F.cross_entropy(tails, targets.tails[relations], ignore_index=-1, reduction="sum")


def train(
    net: SceneGraphNet, data: TrainingData, settings: TrainSettings
) -> Iterator[tuple[int, float, SceneGraphNet]]:
    """Train a network; yields after each epoch its number, mean loss and the averaged network."""
    averaged = SceneGraphNet(net.settings).to(data.device).eval()
    averaged.load_state_dict(net.state_dict())
    optimizer = torch.optim.AdamW(
        net.parameters(), settings.learning_rate, (0.9, 0.98), weight_decay=settings.weight_decay
    )
    steps = settings.epochs * math.ceil(len(data) / settings.batch_size)
    step = 0
    for epoch in range(settings.epochs):
        net.train()
        total = torch.zeros((), device=data.device)
        for which in torch.randperm(len(data), device=data.device).split(settings.batch_size):
            for group in optimizer.param_groups:
                group["lr"] = _learning_rate(settings, step, steps)
            loss = loss_of(net, *data.batch(which))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), settings.clip)
            optimizer.step()
            step += 1
            keep = min(settings.decay, (1 + step) / (10 + step))
            with torch.no_grad():
                for mean, now in zip(averaged.parameters(), net.parameters(), strict=True):
                    mean.lerp_(now, 1 - keep)
            total += loss.detach() * len(which)
        yield epoch, total.item() / len(data), averaged


def as_model(net: SceneGraphNet, closed: ClosedSets, normal_forms: NormalForms) -> SceneGraphModel:
    """The trained network as the model of the component."""
    weights = {name: w.detach().cpu().numpy() for name, w in net.state_dict().items()}
    return SceneGraphModel(
        network=SceneGraphNetwork(weights, Vocabulary(closed.words)),
        heads=closed.heads,
        tails=closed.tails,
        normal_forms=normal_forms,
        pos=closed.pos,
        deprels=closed.deprels,
    )


def score_examples(model: SceneGraphModel, examples: list[Example]) -> Scores:
    """Set match and SPICE F1 of a model."""
    vocab = spacy.blank("en").vocab
    docs = [
        Doc(vocab, words=e.words, spaces=e.spaces, pos=e.pos, heads=e.heads, deps=e.deprels)
        for e in examples
    ]
    parsed = [string_tuples(doc) for doc in SceneGraph(model=model).pipe(docs)]
    return score(parsed, [[tuple(triple) for triple in e.triples] for e in examples])


def main() -> None:
    """Read the command line, train, write the pipeline."""
    options = _options()
    examples = read_examples(options.examples / "train.jsonl.gz")
    dev = read_examples(options.examples / "dev.jsonl.gz")
    normal_forms = NormalForms.from_json(
        json.loads((options.examples / "normal_forms.json").read_text())
    )
    settings = TrainSettings(options.epochs, options.batch_size, options.learning_rate)
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    begun = options.begin_with and _component(load_parser(str(options.begin_with))).model
    closed = ClosedSets.of_model(begun) if begun else ClosedSets.of(examples)
    net = SceneGraphNet(closed.sizes()).to(device)
    if begun:
        net.load_state_dict({name: torch.tensor(w) for name, w in begun.network.weights.items()})
    data = TrainingData(examples, closed, normal_forms, net.settings.buckets, device)
    start, averaged = time.perf_counter(), net
    for epoch, loss, averaged in train(net, data, settings):
        result = score_examples(as_model(averaged, closed, normal_forms), dev)
        print(
            f"epoch {epoch + 1}: loss {loss:.3f}, dev set match {result.set_match:.1f}, "
            f"SPICE F1 {result.spice_f1:.1f}, {time.perf_counter() - start:.0f} s",
            flush=True,
        )
    nlp = load_parser(str(options.model))
    for name in (RULE, RULES):
        if name in nlp.pipe_names:
            nlp.remove_pipe(name)
    nlp.add_pipe(RULE)
    _component(nlp).model = as_model(averaged, closed, normal_forms)
    nlp.to_disk(options.out)


def _component(nlp: Language) -> SceneGraph:
    component = nlp.get_pipe(RULE)
    assert isinstance(component, SceneGraph)
    return component


def _learning_rate(settings: TrainSettings, step: int, steps: int) -> float:
    falling = 0.5 * (1 + math.cos(math.pi * step / steps))
    return settings.learning_rate * min(1.0, step / settings.warmup) * max(0.01, falling)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("examples", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--epochs", type=int, default=TrainSettings.epochs)
    parser.add_argument("--batch-size", type=int, default=TrainSettings.batch_size)
    parser.add_argument("--learning-rate", type=float, default=TrainSettings.learning_rate)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--begin-with", type=Path, help="Pipeline whose component is trained further."
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
