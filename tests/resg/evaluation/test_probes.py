import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline.manifests.manifest import CaptionItem
from pipeline.parsing.captions import caption_record
from pipeline.parsing.parser import cached_parser, model_fingerprint, parse_texts
from resg.data.splits import LeftOut, SplitReaders
from resg.errors import ResgError
from resg.evaluation.hard_pairs import HardPair, read_hard_pairs, without_left_out
from resg.evaluation.probes import probe_run
from resg.jobs import train_run
from resg.live import caption_reader
from resg.presets import load_settings
from resg.run_folder import open_run

CPU = torch.device("cpu")
SIZE = {"train": 40, "val": 10, "test": 10}
NOUNS = {
    "red": "dog",
    "green": "man",
    "blue": "horse",
    "white": "cat",
    "black": "car",
    "pink": "boy",
}


def parsed(texts):
    nlp = cached_parser("embedded")
    return [
        caption_record(doc, CaptionItem(f"c#{n}", "c", text, "test"))
        for n, (doc, text) in enumerate(zip(parse_texts(nlp, texts), texts, strict=True))
    ]


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    """A run on captions `a NOUN rides a NOUN` as the embedded parser reads them."""
    folder = tmp_path_factory.mktemp("probes")
    for number, (split, count) in enumerate(SIZE.items()):
        images, captions = world.make_split(split, count, number)
        texts = [f"a {NOUNS[c.forms[0]]} rides a {NOUNS[c.forms[2]]}" for c in captions]
        records = [
            replace(record, caption_id=caption.caption_id, image_id=caption.image_id)
            for record, caption in zip(parsed(texts), captions, strict=True)
        ]
        fingerprint = {"model": model_fingerprint(cached_parser("embedded"))}
        world.write_split(folder / "s", number, split, images, records, fingerprint=fingerprint)
    changes = ("model.width=32", "model.graph.heads=4", "train.batch_size=16", "train.epochs=8")
    changes += ("train.learning_rate=0.003", "train.warmup_steps=0")
    # after so few steps gates are all but closed, and no probe would change a rank of ten images
    changes += ("model.graph.residual=normed", "model.graph.content=false", "train.clip_of=sum")
    changes += ("loss.hardest_after=8", "loss.contrastive_weight=0", "loss.margin_weight=0.1")
    changes += ("loss.swap_weight=0",)
    changes += ("model.graph.contextual_order=false", "model.graph.type_values=false")
    changes += ("model.graph.edge_dropout=0",)
    train_run(folder / "s", folder / "run", load_settings("resg-gru", changes), CPU)
    return folder / "run"


def probe(folder, pairs=None):
    run = open_run(folder)
    return probe_run(run, "test", CPU, caption_reader(run).captions, pairs=pairs)


def test_all_probes_end_to_end(run):
    report = probe(run)
    nothing = {"captions": 0, "images": 0}
    assert report.data == {"split": "test", "images": 10, "captions": 20, "left_out": nothing}
    assert list(report.rsum) == ["as trained", "edges removed", "words shuffled"]
    assert all(0 <= rsum <= 600 for rsum in report.rsum.values())
    assert len(set(report.rsum.values())) == 3
    assert report.num_swapped == 2 * SIZE["test"]
    assert 0 <= report.relation_swap <= 100
    assert report.hard_pairs is None
    assert probe(run) == report  # the shuffle is the run's own


def hard_pairs(path, ids):
    pairs = [
        {
            "image_id": image,
            "caption_id": f"{image}#0",
            "wrong_caption_id": wrong,
            "relation": relation,
            "split": split,
        }
        for image, wrong, relation, split in ids
    ]
    path.write_text(json.dumps({"pairs": pairs}))
    return path


def test_captions_of_skipped_images_are_left_out_of_all_probes(run, world, tmp_path):
    readers = SplitReaders.open(open_run(run).shards_in(None), "test")
    images, captions = list(readers.regions), list(readers.captions)
    fingerprint = {"model": model_fingerprint(cached_parser("embedded"))}
    kept = [caption for caption in captions if caption.image_id not in ("test-1", "test-4")]
    remaining = [image for image in images if image.image_id not in ("test-1", "test-4")]
    for name, own in (("skipped", captions), ("never there", kept)):
        world.write_split(tmp_path / name, 0, "test", remaining, own, fingerprint=fingerprint)
    reports = [
        probe_run(
            open_run(run), "test", CPU, caption_reader(open_run(run)).captions, tmp_path / name
        )
        for name in ("skipped", "never there")
    ]
    assert reports[0].data.pop("left_out") == {"captions": 4, "images": 2}
    assert reports[1].data.pop("left_out") == {"captions": 0, "images": 0}
    assert reports[0] == reports[1]
    assert reports[0].num_swapped == 16


def test_hard_pairs_are_counted_by_relation(run, tmp_path):
    ids = [
        ("test-0", "test-0#0", "left of", "test"),  # the same caption: a tie counts as wrong
        ("test-1", "test-2#0", "above", "test"),
        ("train-0", "train-1#0", "above", "train"),
    ]
    report = probe(run, hard_pairs(tmp_path / "pairs.json", ids))
    assert set(report.hard_pairs) == {"all", "left of", "above"}
    assert report.hard_pairs["left of"] == 0
    assert report.hard_pairs["all"] == np.mean([0, report.hard_pairs["above"]])


def test_hard_pairs_with_a_caption_that_is_left_out_are_left_out():
    told = [HardPair(f"i{n}", f"i{n}#0", f"i{(n + 1) % 4}#0", "above") for n in range(4)]
    tables = SimpleNamespace(left_out=LeftOut(("i2#0", "i2#1"), ("i2",)))
    assert without_left_out(told, tables) == [told[0], told[3]]
    with pytest.raises(ResgError, match="got 2 whose images have none"):
        without_left_out(told[1:3], tables)


def test_a_file_without_pairs_of_the_split_or_of_other_data_is_refused(run, tmp_path):
    path = hard_pairs(tmp_path / "pairs.json", [("train-0", "train-1#0", "above", "train")])
    with pytest.raises(ResgError, match="expected hard pairs of split 'test'"):
        read_hard_pairs(path, "test")
    path.write_text("[]")
    with pytest.raises(ResgError, match=r"make-scenes writes them as hard_pairs\.json"):
        read_hard_pairs(path, "test")
    path = hard_pairs(path, [("elsewhere-0", "elsewhere-1#0", "above", "test")])
    with pytest.raises(ResgError, match="elsewhere-0"):
        probe(run, path)


def test_a_run_is_probed_with_the_parser_of_its_captions_alone(run, shards, tmp_path):
    settings = load_settings("vse++", ("model.width=16", "train.epochs=1"))
    train_run(shards, tmp_path / "other", settings, CPU)  # its captions came from another parser
    with pytest.raises(ResgError, match=r"model: components: \[.*\] here, None there"):
        probe(tmp_path / "other")
