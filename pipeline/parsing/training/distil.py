"""Teachers over a pretrained encoder, and a small network that learns from them; no spaCy.

    python -m pipeline.parsing.training.distil teach DATA OUT --seed 0 --seconds 180
    python -m pipeline.parsing.training.distil label DATA OUT
    python -m pipeline.parsing.training.distil learn DATA OUT --seconds 180

DATA is what `distil_data` wrote. `teach` fine-tunes the encoder on FACTUAL and composed captions;
`label` reads captions without gold with all teachers of OUT, whose scores are averaged; `learn`
trains the embedded network on all of them.
"""

import argparse
import gzip
import json
import multiprocessing
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from pipeline.parsing.scene_graph.decode import Floats, Graph
from pipeline.parsing.scene_graph.features import Vocabulary
from pipeline.parsing.scene_graph.model import SceneGraphModel
from pipeline.parsing.scene_graph.network import Captions, GraphScorer, SceneGraphNetwork
from pipeline.parsing.scene_graph.normal_forms import NormalForms, singular
from pipeline.parsing.score import Scores, Strings, score
from pipeline.parsing.training.ensemble import EncodedScorer
from pipeline.parsing.training.examples import (
    Example,
    read_examples,
    read_normal_forms,
    write_examples,
)
from pipeline.parsing.training.optimise import TrainSettings, train
from pipeline.parsing.training.pretrained_net import (
    EncoderSettings,
    PretrainedNet,
    change_by_low_rank,
)
from pipeline.parsing.training.scene_graph_batches import ClosedSets, TrainingData
from pipeline.parsing.training.scene_graph_net import GraphHeads, NetSettings, SceneGraphNet
from pipeline.parsing.training.word_pieces import WordPieces

BLOCK = 512
"""Captions that are encoded, or decoded, at a time."""


class Data:
    """The folder that `distil_data` wrote.

    Args:
        folder: with `train`, `composed`, `written`, `unlabelled` and `dev` as examples, the normal
            forms, the closed sets, and the encoder with its word pieces.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.normal_forms = read_normal_forms(folder)
        sets = json.loads((folder / "closed_sets.json").read_text())
        self.closed = ClosedSets(**{name: tuple(values) for name, values in sets.items()})
        self.word_pieces = WordPieces(json.loads((folder / "word_pieces.json").read_text()))

    def examples(self, name: str) -> list[Example]:
        """The examples of a file."""
        return read_examples(self.folder / f"{name}.jsonl.gz")

    def encoder(self) -> dict[str, torch.Tensor]:
        """The pretrained encoder's weights."""
        weights = load_file(self.folder / "encoder.safetensors")
        return {name: weight.float() for name, weight in weights.items()}


def captions_of(examples: Sequence[Example], closed: ClosedSets) -> Captions:
    """What the network reads of examples."""
    pos = {label: row for row, label in enumerate(closed.pos)}
    deprels = {label: row for row, label in enumerate(closed.deprels)}
    starts = np.cumsum([0, *(len(e.words) for e in examples)])
    return Captions(
        words=[[word.lower() for word in e.words] for e in examples],
        pos=np.array([pos.get(label, 0) for e in examples for label in e.pos]),
        deprels=np.array([deprels.get(label, 0) for e in examples for label in e.deprels]),
        heads=np.concatenate(
            [s + np.array(e.heads) for s, e in zip(starts, examples, strict=False)]
        ),
    )


def with_graph(example: Example, graph: Graph) -> Example:
    """The example with another graph, without what it leaves alone."""
    joined = {i for r in graph.relations for i in r[:2]} | {i for a in graph.attributes for i in a}
    kept = [i for i in range(len(graph.nodes)) if i in joined or not joined]
    place = {node: rank for rank, node in enumerate(kept)}
    return replace(
        example,
        nodes=[(*graph.nodes[i][:2], bool(graph.nodes[i].is_attribute)) for i in kept],
        relations=[
            (place[r.subject], f"{r.head} {r.tail}".rstrip(), place[r.object])
            for r in graph.relations
        ],
        attributes=[(place[s], place[a]) for s, a in graph.attributes],
    )


def strings_of(example: Example, normal_forms: NormalForms) -> list[Strings]:
    """The triples of an example's graph; where there are none, its objects."""
    names = [
        (normal_forms.attribute_name if kind else normal_forms.object_name)(
            example.text(start, end)
        )
        for start, end, kind in example.nodes
    ]
    triples: list[Strings] = [
        (names[s], p, names[o]) if s != o else (singular(names[s]), p, singular(names[s]))
        for s, p, o in example.relations
    ]
    triples += [(names[s], "is", names[a]) for s, a in example.attributes]
    return triples or [(n,) for n, node in zip(names, example.nodes, strict=True) if not node[2]]


def score_graphs(
    examples: Sequence[Example], graphs: Iterable[Graph], normal_forms: NormalForms
) -> Scores:
    """Set match and SPICE F1 of graphs against the examples' gold."""
    read = [with_graph(e, graph) for e, graph in zip(examples, graphs, strict=True)]
    gold = [[tuple(triple) for triple in e.triples] for e in examples]
    return score([strings_of(e, normal_forms) for e in read], gold)


def without_arcs(examples: Iterable[Example]) -> list[Example]:
    """Examples in which each token is a root: a pretrained encoder needs no parser."""
    return [
        replace(
            e, heads=list(range(len(e.words))), pos=[""] * len(e.words), deprels=[""] * len(e.words)
        )
        for e in examples
    ]


def _gold(data: Data, limit: int | None, factual: int = 1) -> tuple[list[Example], list[int]]:
    """Captions with gold, and how often each is learned from in an epoch."""
    parts = [data.examples(name)[:limit] for name in ("train", "composed", "written")]
    repeats = np.repeat((factual, 1, 8), [len(part) for part in parts]).tolist()
    return [example for part in parts for example in part], repeats


def teacher_net(data: Data) -> PretrainedNet:
    """A network over the pretrained encoder, its heads untrained."""
    weights = data.encoder()
    sizes = replace(data.closed.sizes(), width=384, pair_width=256, dropout=0.15)
    positions = len(weights["positions.weight"])
    net = PretrainedNet(
        replace(sizes, words=2, buckets=1),
        EncoderSettings(len(weights["pieces.weight"]), positions=positions),
    )
    net.encoder.load_state_dict(weights)
    return net


def teach(options: argparse.Namespace) -> None:
    """Fine-tune one teacher; all but the first change the encoder's every weight."""
    data, device = Data(options.data), torch.device(options.device)
    torch.manual_seed(options.seed)
    examples, repeats = _gold(data, options.limit)
    examples = without_arcs(examples)
    dev = without_arcs(data.examples("dev"))
    net = teacher_net(data)
    if options.rank:
        change_by_low_rank(net.encoder, options.rank)
    net.to(device)
    tensors = TrainingData(
        examples, data.closed, data.normal_forms, net.settings.buckets, device, data.word_pieces,
        repeats,
    )  # fmt: skip
    settings = TrainSettings(
        epochs=options.epochs,
        seconds=options.seconds,
        batch_size=options.batch_size,
        learning_rate=1e-3,
        encoder_rate=1.0 if options.rank else 0.15,
        warmup=200,
        decay=0.998,
        clip=2.0,
    )
    name = f"teacher{options.seed}" + f"-rank{options.rank}" * bool(options.rank)
    print(f"{name}: {len(examples)} captions", flush=True)
    averaged, start = net, time.perf_counter()
    for epoch, loss, averaged in train(net, tensors, settings):
        if epoch % options.every == 0:
            _report(name, epoch, loss, start, _dev_score([averaged], data, dev))
    _report(name, "last", 0.0, start, _dev_score([averaged], data, dev))
    weights = {
        key: w.detach().half().cpu().contiguous() for key, w in averaged.state_dict().items()
    }
    if options.rank:  # the frozen weights are the pretrained encoder's own
        weights = {
            key: w
            for key, w in weights.items()
            if not key.startswith("encoder.") or ".parametrizations.weight.0." in key
        }
    save_file(weights, options.out / f"{name}.safetensors")


def _report(name: str, epoch: int | str, loss: float, start: float, result: Scores) -> None:
    print(
        f"{name} epoch {epoch}: loss {loss:.3f}, dev set match {result.set_match:.1f}, SPICE F1 "
        f"{result.spice_f1:.2f}, {time.perf_counter() - start:.0f} s",
        flush=True,
    )


def _heads(net: GraphHeads) -> GraphScorer:
    weights = {
        n: w.cpu().numpy() for n, w in net.state_dict().items() if not n.startswith("encoder.")
    }
    return GraphScorer(weights)


def _encoded(net: PretrainedNet, examples: Sequence[Example], data: Data) -> list[Floats]:
    """Tokens in context of each block of examples."""
    blocks = []
    device = net.tag.weight.device
    for start in range(0, len(examples), BLOCK):
        block = examples[start : start + BLOCK]
        split = [data.word_pieces.of_caption([w.lower() for w in e.words]) for e in block]
        longest = max(len(pieces) for pieces, _ in split)
        pieces = torch.zeros(len(block), longest, dtype=torch.long)
        for row, (its, _) in enumerate(split):
            pieces[row, : len(its)] = torch.tensor(its)
        lengths = torch.tensor([len(its) for its, _ in split])
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, device.type == "cuda"):
            seen = net.encoder(pieces.to(device), lengths.to(device)).float()
        rows = torch.tensor([row for row, (_, ends) in enumerate(split) for _ in ends])
        ends = torch.tensor([end for _, its in split for end in its])
        first, last = seen[rows, ends[:, 0]], seen[rows, ends[:, 1]]
        blocks.append((0.5 * (first + last)).half().cpu().numpy())
    return blocks


def _model(network: GraphScorer, data: Data) -> SceneGraphModel:
    closed = data.closed
    return SceneGraphModel(
        network, closed.heads, closed.tails, data.normal_forms, closed.pos, closed.deprels
    )


def _dev_score(nets: Sequence[PretrainedNet], data: Data, dev: Sequence[Example]) -> Scores:
    """Score of the mean of teachers."""
    tokens = [_encoded(net.eval(), dev, data) for net in nets]
    heads = [_heads(net) for net in nets]
    graphs = [
        graph
        for start, of_nets in zip(range(0, len(dev), BLOCK), zip(*tokens, strict=True), strict=True)
        for graph in _read_block(dev[start : start + BLOCK], of_nets, heads, data)
    ]
    return score_graphs(dev, graphs, data.normal_forms)


def _read_block(
    examples: Sequence[Example], tokens: Sequence[Floats], heads: Sequence[GraphScorer], data: Data
) -> list[Graph]:
    scorer = EncodedScorer(heads, [t.astype(np.float32) for t in tokens])
    return _model(scorer, data).graphs(captions_of(examples, data.closed))


_WORK: tuple[Any, ...] = ()
"""What the processes that decode inherit."""


def _label_block(block: int) -> list[Example]:
    examples, tokens, heads, data = _WORK
    part = examples[block * BLOCK : (block + 1) * BLOCK]
    graphs = _read_block(without_arcs(part), [t[block] for t in tokens], heads, data)
    return [with_graph(e, graph) for e, graph in zip(part, graphs, strict=True)]


def label(options: argparse.Namespace) -> None:
    """Read the captions without gold with the mean of the teachers."""
    global _WORK
    data, device = Data(options.data), torch.device(options.device)
    nets = []
    for path in sorted(options.out.glob("teacher*.safetensors")):
        weights = {name: w.float() for name, w in load_file(path).items()}
        net = teacher_net(data)
        down = [weight for name, weight in weights.items() if name.endswith(".0.down")]
        if down:
            change_by_low_rank(net.encoder, len(down[0]))
        net.load_state_dict(weights, strict=not down)
        nets.append(net.to(device).eval())
    start = time.perf_counter()
    dev = without_arcs(data.examples("dev"))
    _report(f"mean of {len(nets)}", 0, 0.0, start, _dev_score(nets, data, dev))
    examples = data.examples("unlabelled")[: options.limit]
    tokens = [_encoded(net, examples, data) for net in nets]
    _WORK = (examples, tokens, [_heads(net) for net in nets], data)
    with multiprocessing.get_context("fork").Pool(options.processes) as pool:
        blocks = pool.map(_label_block, range(len(tokens[0])), chunksize=1)
    labelled = [example for block in blocks for example in block]
    write_examples(labelled, options.out / "labelled.jsonl.gz")
    print(f"{len(labelled)} captions labelled, {time.perf_counter() - start:.0f} s", flush=True)


def learn(options: argparse.Namespace) -> None:
    """Train the embedded network on gold, composed and labelled captions."""
    data, device = Data(options.data), torch.device(options.device)
    torch.manual_seed(options.seed)
    with gzip.open(options.out / "labelled.jsonl.gz", "rt", encoding="utf-8") as stream:
        labelled = [Example(**json.loads(line)) for line in stream]
    examples, repeats = _gold(data, options.limit, factual=2)
    labelled = labelled[: options.limit]
    examples, repeats = examples + labelled, repeats + [1] * len(labelled)
    dev = data.examples("dev")
    sizes: NetSettings = replace(
        data.closed.sizes(), width=options.width, pair_width=options.pair_width,
        layers=options.layers, dropout=options.dropout,
    )  # fmt: skip
    net = SceneGraphNet(sizes).to(device)
    if options.begin_with:
        weights = load_file(options.begin_with)
        net.load_state_dict({name: weight.float() for name, weight in weights.items()})
    tensors = TrainingData(
        examples, data.closed, data.normal_forms, sizes.buckets, device, repeats=repeats
    )
    settings = TrainSettings(
        epochs=options.epochs, seconds=options.seconds, batch_size=options.batch_size,
        learning_rate=options.learning_rate, decay=0.999,
    )  # fmt: skip
    name = f"student-{options.width}-{options.layers}-{options.seed}"
    print(
        f"{name}: {len(examples)} captions, {sum(p.numel() for p in net.parameters())}", flush=True
    )
    averaged, start = net, time.perf_counter()
    model = _model(GraphScorer({}), data)
    for epoch, loss, averaged in train(net, tensors, settings):
        weights = {key: w.detach().cpu().numpy() for key, w in averaged.state_dict().items()}
        model = _model(SceneGraphNetwork(weights, Vocabulary(data.closed.words)), data)
        if epoch % options.every == 0:
            graphs = model.graphs(captions_of(dev, data.closed))
            _report(name, epoch, loss, start, score_graphs(dev, graphs, data.normal_forms))
    graphs = model.graphs(captions_of(dev, data.closed))
    _report(name, "last", 0.0, start, score_graphs(dev, graphs, data.normal_forms))
    for file, content in model.files().items():
        (options.out / f"{name}-{file}").write_bytes(content)


def main() -> None:
    """Read the command line and run one stage."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    {"teach": teach, "label": label, "learn": learn}[options.stage](options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("stage", choices=("teach", "label", "learn"))
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="Of training; None for all epochs.")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--every", type=int, default=1, help="Score after so many epochs.")
    parser.add_argument("--limit", type=int, help="Use only so many captions.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--rank", type=int, default=0, help="Of the encoder's change; 0 for all.")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="Of `learn`.")
    parser.add_argument("--begin-with", type=Path, help="Weights that `learn` goes on with.")
    parser.add_argument("--width", type=int, default=NetSettings.width)
    parser.add_argument("--pair-width", type=int, default=NetSettings.pair_width)
    parser.add_argument("--layers", type=int, default=NetSettings.layers)
    parser.add_argument("--dropout", type=float, default=NetSettings.dropout)
    return parser.parse_args()


if __name__ == "__main__":
    main()
