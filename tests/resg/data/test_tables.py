from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import DataError as ShardError
from pipeline.shards import reader as shard_reader
from pipeline.shards.records import CaptionSpan, CaptionTriple, ParsedCaption
from pipeline.shards.writer import write_shard
from resg.config import TrainSettings
from resg.data.sampling import seeded_generator as generator
from resg.data.splits import SplitReaders
from resg.data.tables import CaptionTable, DataError, ImageTable, SwappedCaptions
from resg.data.vocabulary import END, MASK, START, Vocabulary
from resg.data.word_drop import DroppedWords
from resg.errors import ResgError
from resg.files import load_tensors
from resg.graphs.visual import num_visual_edge_types
from resg.jobs import evaluate_runs, train_run
from resg.models.matcher import Matcher
from resg.presets import load_settings, preset_names
from resg.run_folder import open_run
from resg.training.losses import total_loss
from resg.training.run_log import read_metrics

CPU = torch.device("cpu")
SMALL = ("model.width=16", "model.graph.heads=4", "model.text.word_width=8", "train.epochs=1")
OWN_PRESETS = [name for name in preset_names() if name != "resg-bert"]


def small(preset="resg-gru", *changes):
    return load_settings(preset, (*SMALL, *changes))


def write_splits(world, folder, **counts):
    for number, (split, count) in enumerate(counts.items()):
        world.write_split(folder, number, split, *world.make_split(split, count, number))
    return folder


def without_regions(image):
    """The record of an image in which the detector found nothing."""
    arrays = ("features", "boxes", "labels", "scores")
    return replace(image, **{name: getattr(image, name)[:0] for name in arrays})


# What a batch holds


@pytest.mark.parametrize("cache", ["device", "ram", "map"])
def test_a_batch_holds_the_chosen_images_wherever_features_are_kept(cache, world):
    images, _ = world.make_split("train", 5, 0)
    batch = ImageTable(images, cache, CPU).batch(torch.tensor([3, 0]))
    expected = np.concatenate([images[3].features, images[0].features])
    assert np.array_equal(batch.features.numpy(), expected)
    assert batch.layout.ptr.tolist() == [0, 3, 6]
    assert batch.sizes.tolist() == [[40, 60], [40, 60]]
    assert np.array_equal(batch.boxes.numpy()[3:], images[0].boxes)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files by /proc")
@pytest.mark.parametrize("cache", ["ram", "map"])
def test_more_shards_than_open_files_are_trained_on(cache, world, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_reader, "MAX_OPEN_SHARDS", 3)
    for number in range(40):
        image, captions = world.make_split("train", 1, number)
        image = replace(image[0], image_id=f"{number}")
        captions = [replace(c, image_id=f"{number}", caption_id=f"{number}#{c.caption_id[-1]}")
                    for c in captions]  # fmt: skip
        world.write_split(tmp_path, number, "train", [image], captions)
    readers = SplitReaders.open(tmp_path, "train")
    before = len(list(Path("/proc/self/fd").iterdir()))
    settings = small("resg-gru", f"train.cache={cache}")
    tables = readers.tables(settings, readers.vocabulary(settings), CPU)
    rows = torch.arange(40)
    batch = tables.images.batch(rows)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 3
    assert np.array_equal(batch.features, np.concatenate([r.features for r in readers.regions]))
    assert tables.images.boxes is not None


def test_dropped_regions_are_gone_with_their_relations_and_each_image_keeps_its_first(world):
    images, _ = world.make_split("train", 6, 0)
    relations = np.array([[0, 1, 2], [1, 0, 2], [2, 0, 1]], np.int32)
    table = ImageTable([replace(i, relations=relations) for i in images], "map", CPU)
    rows = torch.arange(6)
    whole = table.batch(rows)
    batch = table.batch(rows, 0.5, generator(1))
    counts = batch.layout.counts.tolist()
    assert sum(counts) == len(batch.features) < len(whole.features)
    assert min(counts) >= 1
    for image in range(6):
        start = batch.layout.host_ptr[image]
        assert torch.equal(batch.features[start], whole.features[3 * image])
    kept = {}  # region of the batch to region of the image
    for row, feature in enumerate(batch.features):
        image = int(batch.layout.group[row])
        own = [k for k in range(3) if torch.equal(whole.features[3 * image + k], feature)]
        kept[image, row - int(batch.layout.host_ptr[image])] = own[0]
    found = {
        (image, kept[image, subject], predicate, kept[image, thing])
        for image, subject, predicate, thing in batch.relations.tolist()
    }
    expected = {
        (image, s, p, o)
        for image in range(6)
        for s, p, o in relations.tolist()
        if {(image, s), (image, o)} <= {(i, k) for (i, _), k in kept.items()}
    }
    assert found == expected
    again = table.batch(rows, 0.5, generator(1))
    assert torch.equal(batch.features, again.features)


def test_a_batch_of_captions_has_words_and_edges_of_its_own(world):
    images, captions = world.make_split("train", 4, 0)
    table = ImageTable(images, "ram", CPU)
    vocabulary = Vocabulary.build(captions)
    encoded = CaptionTable(captions, table.row, vocabulary, ("arcs", "triples"))
    batch = encoded.batch(torch.tensor([5, 2]), torch.tensor([1, 0]))
    forms = [vocabulary.words[number] for number in batch.words.tolist()]
    assert forms == [*captions[5].forms, *captions[2].forms]
    graph = batch.edges.graph
    pairs = set(zip(graph.targets.tolist(), graph.indices.tolist(), strict=True))
    names = {
        pair: {vocabulary.edge_types[t] for t in types if t}
        for pair, types in zip(
            zip(graph.targets.tolist(), graph.indices.tolist(), strict=True),
            batch.edges.types.tolist(),
            strict=True,
        )
    }
    assert all(target // 3 == source // 3 for target, source in pairs)
    assert names[4, 4] == {"self"}
    # `beside` (word 4) attends its head `second` (5) by the arc; the triple joins both, too
    assert names[4, 5] == {"arc:case", "object~"}
    assert batch.image.tolist() == [1, 0]


def test_words_and_types_that_training_did_not_have_are_unknown(world):
    images, captions = world.make_split("train", 4, 0)
    vocabulary = Vocabulary.build(captions)
    other = world.make_caption("c", images[0].image_id, "purple", "red")
    other = replace(other, deprels=("ROOT", "novel", "nmod"))
    encoded = CaptionTable([other], {images[0].image_id: 0}, vocabulary, ("arcs",))
    batch = encoded.batch(torch.tensor([0]), torch.tensor([0]))
    assert batch.words[0] == 0
    assert (batch.words[1:] > 0).all()
    targets, sources = batch.edges.graph.targets.tolist(), batch.edges.graph.indices.tolist()
    novel = [pair == (1, 2) for pair in zip(targets, sources, strict=True)].index(True)
    assert batch.edges.types[novel].tolist() == [0, 0, 0, 0]


def test_the_vocabulary_is_of_frequent_words_of_training_alone(world):
    captions = [world.make_caption(f"{n}", "i", "red", "Green") for n in range(3)]
    captions.append(world.make_caption("4", "i", "red", "pink"))
    vocabulary = Vocabulary.build(captions, min_count=2)
    assert vocabulary.words == ("<unknown>", "beside", "red", "green")


def test_dropped_words_become_unknown_and_keep_their_place(world):
    images, captions = world.make_split("train", 20, 0)
    table = ImageTable(images, "ram", CPU)
    vocabulary = Vocabulary.build(captions)
    encoded = CaptionTable(captions, table.row, vocabulary, ("arcs",))
    numbers = torch.arange(len(captions))
    batch = encoded.batch(numbers, numbers)
    settings = TrainSettings(word_drop=0.25)
    drop = DroppedWords.draw(encoded.num_words, settings, vocabulary, generator(0))
    dropped = drop.apply(batch)
    is_unknown = dropped.words == 0
    assert 0.1 < is_unknown.float().mean() < 0.4
    assert torch.equal(dropped.words[~is_unknown], batch.words[~is_unknown])
    assert dropped.edges is batch.edges
    assert torch.equal(drop.counts_left, encoded.num_words)


def test_of_mixed_dropped_words_half_are_masked_a_tenth_random_and_the_others_removed(world):
    images, captions = world.make_split("train", 100, 0)
    table = ImageTable(images, "ram", CPU)
    vocabulary = Vocabulary.build(captions, own_words=(START, END, MASK))
    encoded = CaptionTable(captions, table.row, vocabulary, ("arcs", "triples"))
    numbers = torch.arange(len(captions))
    batch = encoded.batch(numbers, numbers)
    settings = TrainSettings(word_drop=0.5, dropped_words="mixed")
    drop = DroppedWords.draw(encoded.num_words, settings, vocabulary, generator(0))
    dropped = drop.apply(batch)
    total = len(batch.words)
    is_mask = dropped.words == vocabulary.word_index[MASK]
    assert int(is_mask.sum()) / total == pytest.approx(0.25, abs=0.04)
    assert 1 - len(dropped.words) / total == pytest.approx(0.2, abs=0.04)
    assert torch.equal(torch.from_numpy(np.diff(dropped.layout.host_ptr)), drop.counts_left)
    assert int(drop.counts_left.min()) >= 1
    # what is left keeps its order, its caption, and the edges among itself
    left = batch.words[drop.is_kept]
    is_same = ~drop.is_changed[drop.is_kept]
    assert torch.equal(dropped.words[is_same], left[is_same])
    old = drop.is_kept.nonzero()[:, 0]
    graph, before = dropped.edges.graph, batch.edges.graph
    ends = {(int(old[t]), int(old[s])) for t, s in zip(graph.targets, graph.indices, strict=True)}
    assert ends == {
        (int(t), int(s))
        for t, s in zip(before.targets, before.indices, strict=True)
        if drop.is_kept[t] and drop.is_kept[s]
    }
    again = DroppedWords.draw(encoded.num_words, settings, vocabulary, generator(0))
    assert torch.equal(again.is_kept, drop.is_kept)


def test_a_caption_all_of_whose_words_are_removed_keeps_one():
    settings = TrainSettings(word_drop=0.999, dropped_words="mixed")
    vocabulary = Vocabulary(("<unknown>", MASK), ("<none>",))
    counts = torch.ones(200, dtype=torch.long)
    drop = DroppedWords.draw(counts, settings, vocabulary, generator(0))
    assert torch.equal(drop.counts_left, counts)


def test_boundaries_are_words_around_a_caption_that_no_edge_reaches(world):
    images, captions = world.make_split("train", 4, 0)
    table = ImageTable(images, "ram", CPU)
    rows = torch.arange(3)
    plain, ended = (
        CaptionTable(
            captions, table.row, Vocabulary.build(captions, own_words=own), ("arcs", "triples")
        ).batch(rows, rows)
        for own in ((), (START, END))
    )
    assert ended.layout.host_ptr.tolist() == [0, 5, 10, 15]
    assert ended.words.view(3, 5)[:, [0, -1]].tolist() == [[1, 2]] * 3  # as the vocabulary has them
    inner = torch.arange(15).view(3, 5)[:, 1:-1].flatten()
    assert torch.equal(ended.words[inner] - 2, plain.words)
    assert torch.equal(inner[plain.edges.graph.targets], ended.edges.graph.targets)
    assert torch.equal(inner[plain.edges.graph.indices], ended.edges.graph.indices)
    assert torch.equal(plain.edges.types, ended.edges.types)


# Data that cannot be used


def test_shards_that_fail_to_verify_are_refused(world, tmp_path):
    shards = write_splits(world, tmp_path / "s", train=6, val=4)
    path = shards / "regions-00000.h5"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ShardError, match=r"regions-00000\.h5"):
        train_run(shards, tmp_path / "run", small(), CPU)
    assert not (tmp_path / "run").exists()


def test_regions_and_captions_of_different_data_are_refused(world, tmp_path):
    images, _ = world.make_split("train", 6, 0)
    _, captions = world.make_split("other", 6, 0)
    world.write_split(tmp_path / "s", 0, "train", images, captions)
    world.write_split(tmp_path / "s", 1, "val", *world.make_split("val", 4, 1))
    with pytest.raises(DataError, match="captions of images with regions in split 'train'") as told:
        train_run(tmp_path / "s", tmp_path / "run", small(), CPU)
    assert "Images with regions: train-0, train-1, train-2 (6 in all)." in str(told.value)
    assert "Images of captions: other-0, other-1, other-2 (6 in all)." in str(told.value)
    assert "of the same manifest" in str(told.value)
    assert not (tmp_path / "run").exists()


def test_a_split_whose_images_have_no_region_at_all_is_refused(world, tmp_path):
    images, captions = world.make_split("train", 6, 0)
    bare = [without_regions(image) for image in images]
    world.write_split(tmp_path / "s", 0, "train", bare, captions)
    world.write_split(tmp_path / "s", 1, "val", *world.make_split("val", 4, 1))
    with pytest.raises(DataError, match="split 'train'") as told:
        train_run(tmp_path / "s", tmp_path / "run", small(), CPU)
    assert "Images with regions: none. " in str(told.value)
    assert "Images of captions: train-0, train-1, train-2 (6 in all)." in str(told.value)


def test_a_feature_width_that_is_not_the_runs_is_refused(world, tmp_path):
    shards = write_splits(world, tmp_path / "s", train=6, val=4)
    train_run(shards, tmp_path / "run", small(), CPU)
    images, captions = world.make_split("test", 4, 2)
    wider = [replace(i, features=np.repeat(i.features, 2, axis=1)) for i in images]
    world.write_split(tmp_path / "wide", 0, "test", wider, captions)
    with pytest.raises(ResgError, match=r"expected region features 16 wide.*32"):
        evaluate_runs([tmp_path / "run"], "test", "full", CPU, tmp_path / "wide")
    with pytest.raises(DataError, match=r"expected one feature width, got \[16, 32\]"):
        ImageTable([images[0], wider[1]], "ram", CPU)


def test_a_split_without_captions_or_images_is_refused(world, tmp_path):
    images, _ = world.make_split("train", 6, 0)
    world.write_split(tmp_path / "s", 0, "train", images, [])
    with pytest.raises(DataError, match=r"Images of captions: none\."):
        train_run(tmp_path / "s", tmp_path / "run", small(), CPU)
    with pytest.raises(DataError, match="expected captions, got none"):
        CaptionTable([], {}, Vocabulary.build([]), ())
    with pytest.raises(DataError, match="expected images, got none"):
        ImageTable([], "ram", CPU)
    shards = write_splits(world, tmp_path / "only-train", train=6)
    with pytest.raises(ShardError, match="no regions of split 'val', only of train"):
        train_run(shards, tmp_path / "run", small(), CPU)


def test_a_validation_image_without_captions_is_refused_before_training(world, tmp_path):
    world.write_split(tmp_path / "s", 0, "train", *world.make_split("train", 6, 0))
    images, captions = world.make_split("val", 4, 1)
    world.write_split(tmp_path / "s", 1, "val", images, captions[:-2])
    with pytest.raises(ResgError, match=r"got none for 1 of 4.*Leave these images out"):
        train_run(tmp_path / "s", tmp_path / "run", small(), CPU)
    assert not (tmp_path / "run").exists()


# Small and bare graphs


@pytest.mark.parametrize("preset", OWN_PRESETS)
def test_one_image_alone_in_a_batch_trains_to_finite_weights(preset, world, tmp_path):
    images, captions = world.make_split("train", 1, 0)
    world.write_split(tmp_path / "s", 0, "train", images, captions)
    world.write_split(tmp_path / "s", 1, "val", *world.make_split("val", 4, 1))
    train_run(tmp_path / "s", tmp_path / "run", small(preset, "train.epochs=2"), CPU)
    steps = [e for e in read_metrics(tmp_path / "run") if e["kind"] == "step"]
    assert [step["triplet"] for step in steps] == [0, 0, 0, 0]  # no negative, no violation
    weights = load_tensors(tmp_path / "run" / "best.safetensors")
    assert all(weight.isfinite().all() for weight in weights.values())


def bare_captions(world):
    """A whole caption; one without triples; one word; words without arcs between them."""
    whole = world.make_caption("0", "i0", "red", "green")
    one = ParsedCaption("2", "i2", "red", ("red",), ("red",), ("NOUN",), (0,), ("ROOT",), (), ())
    return [
        whole,
        replace(whole, caption_id="1", image_id="i1", objects=(), triples=()),
        one,
        replace(whole, caption_id="3", image_id="i3", heads=(0, 1, 2), deprels=("ROOT",) * 3),
    ]


@pytest.mark.parametrize("preset", OWN_PRESETS)
def test_captions_without_triples_and_graphs_without_edges_are_scored_and_learned(preset, world):
    random = np.random.default_rng(0)
    colours = [("red", "green", "blue"), ("red",), ("white", "pink"), ("blue", "red")]
    images = [world.make_image(f"i{n}", own, random) for n, own in enumerate(colours)]
    captions = bare_captions(world)
    settings = small(preset)
    vocabulary = Vocabulary.build(captions)
    table = ImageTable(images, "ram", CPU)
    encoded = CaptionTable(captions, table.row, vocabulary, settings.model.textual_graph.edges)
    torch.manual_seed(0)
    matcher = Matcher(settings.model, vocabulary, world.feature_width).eval()

    def scores(rows):
        rows = torch.tensor(rows)
        batches = table.batch(rows), encoded.batch(rows, torch.arange(len(rows)))
        encoded_pairs = matcher(*batches)
        return matcher.score(*encoded_pairs), encoded_pairs

    together, (own_images, own_captions) = scores([0, 1, 2, 3])
    for row in range(4):  # who stands beside whom in a batch changes nothing
        assert scores([row])[0].item() == pytest.approx(together[row, row].item(), abs=1e-5)
    losses = total_loss(
        together,
        own_images.embeddings,
        own_captions.embeddings,
        torch.eye(4, dtype=torch.bool),
        settings.loss,
    )
    losses.total.backward()
    for name, weight in matcher.named_parameters():
        assert weight.grad is None or weight.grad.isfinite().all(), name


def test_a_triple_without_words_of_its_own_is_typed_by_its_string(world):
    caption = replace(
        world.make_caption("c", "i", "red", "green"),
        triples=(CaptionTriple(0, CaptionSpan(-1, -1, "have"), 1, None, "genitive"),),
    )
    assert "predicate:have" in Vocabulary.build([caption]).edge_types


def test_a_detectors_predicates_become_visual_edges(world, tmp_path):
    relations = np.array([[0, 1, 2], [2, 0, 1]], np.int32)
    for number, (split, count) in enumerate((("train", 12), ("val", 6))):
        images, captions = world.make_split(split, count, number)
        images = [replace(image, relations=relations) for image in images]
        common = {"settings": {}, "split": split}
        write_shard(
            tmp_path / "s" / f"regions-{number:05d}.h5",
            "regions",
            images,
            fingerprint={"detector": "test"},
            names={"relations": ["on", "near"]},
            **common,
        )
        write_shard(
            tmp_path / "s" / f"captions-{number:05d}.h5",
            "captions",
            captions,
            fingerprint={"parser": "test"},
            **common,
        )
    settings = small("resg-gru", "model.visual_graph.edges=[predicates]", "train.region_drop=0.3")
    train_run(tmp_path / "s", tmp_path / "run", settings, CPU)
    run = open_run(tmp_path / "run")
    assert run.vocabulary.predicates == ("on", "near")
    edges = load_tensors(run.folder / "best.safetensors")["visual_graph.layers.0.type_bias.weight"]
    assert len(edges) == num_visual_edge_types(2)


def test_captions_come_beside_themselves_exchanged(world):
    images, captions = world.make_split("train", 3, 0)
    captions[2] = replace(captions[2], triples=())  # has nothing to exchange
    rows = {image.image_id: row for row, image in enumerate(images)}
    vocabulary = Vocabulary.build(captions)
    swapped = SwappedCaptions(captions, rows, vocabulary, ("triples",))
    batch = swapped.batch([torch.tensor([3, 2, 0, 1])], 0, 2)
    assert batch.share == 1
    assert batch.places.tolist() == [0, 2]
    assert batch.captions.image.tolist() == [0, 2, 0, 2]
    words = [vocabulary.words[word] for word in batch.captions.words.tolist()]
    own = [list(captions[row].forms) for row in (3, 0)]
    assert words == [*own[0], *own[1], *reversed(own[0]), *reversed(own[1])]
    assert swapped.batch([torch.tensor([2])], 0, 1) is None


def test_processes_exchange_what_one_alone_would(world):
    images, captions = world.make_split("train", 3, 0)
    captions[2] = replace(captions[2], triples=())
    rows = {image.image_id: row for row, image in enumerate(images)}
    swapped = SwappedCaptions(captions, rows, Vocabulary.build(captions), ("triples",))
    shares = [torch.tensor([3, 2]), torch.tensor([0, 1]), torch.tensor([2])]
    own = [swapped.batch(shares, rank, 3) for rank in range(3)]
    assert [part and part.places.tolist() for part in own] == [[0], [0, 1], None]
    assert [part and part.share for part in own] == [1 / 3, 2 / 3, None]
