"""What `import resg` offers: the lines of README, run on a tiny trained run."""

import doctest
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import resg
import resg.run
from pipeline.manifests.manifest import CaptionItem
from pipeline.parsing.captions import caption_record
from pipeline.parsing.parser import cached_parser, model_fingerprint, parse_texts
from resg import webpage
from resg.evaluation import ranking
from resg.explain import shares
from resg.files import load_tensors, save_tensors
from resg.jobs import score_run, train_run
from resg.presets import load_settings
from resg.run_folder import SHIPPED, export_run, open_run

CPU = torch.device("cpu")
SIZES = {"train": 40, "val": 10, "test": 10}
SMALL = ("model.width=16", "model.graph.heads=4", "train.batch_size=20", "train.epochs=1")


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory):
    """A run whose captions the embedded parser has read."""
    place, nlp = tmp_path_factory.mktemp("api"), cached_parser("embedded")
    for number, (split, count) in enumerate(SIZES.items()):
        images, captions = world.make_split(split, count, number)
        texts = [f"a {c.forms[0]} dog rides a {c.forms[2]} horse" for c in captions]
        records = [
            replace(
                caption_record(doc, CaptionItem(c.caption_id, c.image_id, text, split)),
                caption_id=c.caption_id,
                image_id=c.image_id,
            )
            for doc, c, text in zip(parse_texts(nlp, texts), captions, texts, strict=True)
        ]
        fingerprint = {"model": model_fingerprint(nlp)}
        world.write_split(place / "shards", number, split, images, records, fingerprint=fingerprint)
    train_run(place / "shards", place / "run", load_settings("resg-gru", SMALL), CPU)
    return place / "run"


@pytest.fixture(scope="module")
def run(folder):
    return resg.load(folder, device="cpu")


def test_everything_in_all_is_there_and_documented():
    assert set(resg.__all__) <= set(dir(resg))
    for name in resg.__all__:
        assert getattr(resg, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        resg.lode  # noqa: B018


def test_a_free_text_query_in_ten_lines(folder):
    run = resg.load(folder, device="cpu")
    regions = run.regions("test")
    images = run.encode_images(regions)
    query = run.encode_captions(["a red dog rides a white horse"])
    scores = run.similarity(images, query)
    found = [regions[image].image_id for image in resg.rank(scores[:, 0], top=3)]
    assert len(set(found)) == 3
    assert set(found) <= {f"test-{number}" for number in range(SIZES["test"])}


@pytest.mark.parametrize(
    ("module", "documented"),
    [
        (resg.run, resg.load),
        (resg.run, resg.Run.explain),
        (ranking, resg.rank),
        (shares, shares.node_shares),
        (webpage, webpage.html_table),
    ],
)
def test_docstring_examples_run(module, documented, folder):
    values = {**vars(module), "folder": folder}
    for test in doctest.DocTestFinder().find(documented, documented.__name__, globs=values):
        assert test.examples
        assert doctest.DocTestRunner().run(test).failed == 0


def test_similarities_are_those_of_evaluate(run, folder):
    expected, _ = score_run(folder, "test", CPU)
    images = run.encode_images(run.regions("test"))
    scores = run.similarity(images, run.encode_captions(run.captions("test")))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    owner = np.repeat(np.arange(SIZES["test"]), 2)
    assert 0 <= resg.evaluate_scores(scores, owner).as_json()["rsum"] <= 600


def test_typed_captions_and_parsed_ones_are_encoded_in_their_order(run):
    captions = run.captions("test")[:3]
    parsed = run.encode_captions(captions)
    mixed = run.encode_captions([captions[0], captions[1].text, captions[2]])
    torch.testing.assert_close(mixed.embeddings, parsed.embeddings)
    torch.testing.assert_close(mixed.nodes, parsed.nodes)
    assert mixed.ptr.tolist() == parsed.ptr.tolist()
    rows = run.encode_captions(captions[1:])
    torch.testing.assert_close(parsed.rows(1, 3).embeddings, rows.embeddings)


def test_what_cannot_be_encoded_is_refused(run, folder, shards, world):
    with pytest.raises(resg.ResgError, match="expected images"):
        run.encode_images([])
    with pytest.raises(resg.ResgError, match="expected captions"):
        run.encode_captions([])
    wide = world.make_image("wide", ("red",), np.random.default_rng(0))
    wide = replace(wide, features=np.zeros((1, 99), np.float16))
    with pytest.raises(resg.ResgError, match="got 99"):
        run.encode_images([wide])
    other = resg.load(folder, device="cpu", shards=shards)  # of another parser
    with pytest.raises(resg.ResgError, match="same detector and parser"):
        other.regions("test")
    with pytest.raises(resg.ResgError, match=r"no run\.json"):
        resg.load(folder / "nothing")


def test_an_exported_run_gives_nearly_the_same_scores_without_its_paths(run, folder, tmp_path):
    export_run(open_run(folder), tmp_path / "half", half=True)
    assert {f.name for f in (tmp_path / "half").iterdir()} == {
        "best.safetensors",
        "run.json",
        "vocabulary.json",
    }
    assert str(folder.parent) not in (tmp_path / "half" / "run.json").read_text()
    half = resg.load(tmp_path / "half", device="cpu")
    captions, regions = run.captions("test"), run.regions("test")
    expected = run.similarity(run.encode_images(regions), run.encode_captions(captions))
    found = half.similarity(half.encode_images(regions), half.encode_captions(captions))
    np.testing.assert_allclose(found, expected, atol=5e-3)
    with pytest.raises(resg.ResgError, match="--shards DIR"):
        half.regions("test")
    with pytest.raises(resg.ResgError, match="holds a run already"):
        export_run(open_run(folder), tmp_path / "half")


def test_weights_too_large_for_half_precision_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "large")
    weights = load_tensors(folder / "best.safetensors")
    name = next(n for n, tensor in weights.items() if tensor.is_floating_point())
    weights[name] = torch.full_like(weights[name], 1e6)
    save_tensors(tmp_path / "large" / "best.safetensors", weights)
    with pytest.raises(resg.ResgError, match="too large for half precision"):
        export_run(open_run(tmp_path / "large"), tmp_path / "half", half=True)
    assert not (tmp_path / "half").exists()


def test_the_shipped_matcher_has_a_name_and_its_absence_clear_words(folder, monkeypatch, tmp_path):
    monkeypatch.setitem(SHIPPED, "photos", folder)
    assert resg.load("photos", device="cpu").folder.folder == folder
    with pytest.raises(resg.ResgError, match=r"no run\.json"):
        resg.load(Path("photos"))  # a folder of that name
    monkeypatch.setitem(SHIPPED, "photos", tmp_path)
    with pytest.raises(resg.ResgError, match=r"not in this installation.*--run RUN"):
        resg.load("photos")


def test_a_picture_is_refused_where_the_detector_is_not_known(run, tmp_path):
    with pytest.raises(resg.ResgError, match="--detector SPEC"):
        run.encode_images([tmp_path / "dog.jpg"])


def test_a_run_names_itself(run):
    assert repr(run).endswith("(resg-gru) on cpu>")


def test_rank_takes_rows_and_keeps_the_order_of_equal_scores():
    scores = np.array([[0.5, 0.9, 0.5], [1.0, 0.0, 2.0]])
    assert resg.rank(scores).tolist() == [[1, 0, 2], [2, 0, 1]]
    assert resg.rank(scores, top=1).tolist() == [[1], [2]]


# Start-up


def loaded_by(code):
    """Modules that a fresh interpreter has loaded after this code."""
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"torch", "torch._dynamo", "spacy", "onnxruntime", "matplotlib", "transformers", "dask"}


def test_importing_resg_starts_nothing_heavy():
    assert not HEAVY & loaded_by("import resg; resg.__version__, resg.rank, resg.evaluate_scores")


@pytest.mark.parametrize(
    "command",
    [
        "",
        "train",
        "evaluate",
        "probe",
        "doctor",
        "explain",
        "export-run",
        "index",
        "search",
        "serve",
    ],
)
def test_help_starts_nothing_heavy(command):
    code = f"from resg.cli import main\nmain({[command] if command else []} + ['--help'],"
    assert not HEAVY & loaded_by(f"{code} standalone_mode=False)")


def test_a_matrix_is_evaluated_without_pytorch(tmp_path):
    np.save(tmp_path / "scores.npy", np.eye(20, 100, dtype=np.float32))
    arguments = ["evaluate", "--matrix", str(tmp_path / "scores.npy")]
    loaded = loaded_by(f"from resg.cli import main\nmain({arguments}, standalone_mode=False)")
    assert not HEAVY & loaded


def test_training_and_loading_a_run_start_no_compiler():
    assert "torch._dynamo" not in loaded_by("import resg.jobs, resg.run")


def test_python_m_resg_says_its_version():
    command = [sys.executable, "-m", "resg", "--version"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == f"resg {resg.__version__}\n"
