"""Train the `scene_graph` component and put it into a pipeline.

    python -m pipeline.parsing.training.scene_graph EXAMPLES MODEL OUT --device cuda

EXAMPLES is what `scene_graph_data` wrote, MODEL the spaCy pipeline whose arcs they hold; OUT gets
the same pipeline with the component at its end. The weights are an average over training (Polyak
and Juditsky 1992); after each epoch they are scored on the dev examples as they will be used.
"""

import argparse
import time
from pathlib import Path

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc

from pipeline.parsing.doc_triples import string_tuples
from pipeline.parsing.parser import load_parser
from pipeline.parsing.scene_graph.component import RULE, SceneGraph
from pipeline.parsing.scene_graph.features import Vocabulary
from pipeline.parsing.scene_graph.model import SceneGraphModel
from pipeline.parsing.scene_graph.network import SceneGraphNetwork
from pipeline.parsing.scene_graph.normal_forms import NormalForms
from pipeline.parsing.score import Scores, score
from pipeline.parsing.training.examples import Example, read_examples, read_normal_forms
from pipeline.parsing.training.optimise import TrainSettings, train
from pipeline.parsing.training.scene_graph_batches import ClosedSets, TrainingData
from pipeline.parsing.training.scene_graph_net import SceneGraphNet


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
    normal_forms = read_normal_forms(options.examples)
    settings = TrainSettings(
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
    )
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
    _component(nlp).model = as_model(averaged, closed, normal_forms)
    nlp.to_disk(options.out)


def _component(nlp: Language) -> SceneGraph:
    component = nlp.get_pipe(RULE)
    assert isinstance(component, SceneGraph)
    return component


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
