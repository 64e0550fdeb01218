import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import pipeline
from resg.cli import main
from resg.presets import preset_names
from resg.run_folder import open_run
from resg.training.checkpoint import last_checkpoint
from resg.training.run_log import read_metrics

SMALL = {
    "model.width": 16,
    "model.graph.heads": 4,
    "model.text.word_width": 8,
    "train.batch_size": 16,
    "train.epochs": 2,
}


def resg(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def train(shards, out, *arguments):
    changes = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]
    command = ("train", "--shards", shards, "--out", out, "--device", "cpu", *changes)
    return resg(*command, *arguments)


@pytest.fixture(scope="module")
def run(shards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("commands") / "run"
    done = train(shards, folder)
    assert done.exit_code == 0, done.output
    return folder


@pytest.mark.parametrize("command", ["train", "evaluate", "probe", "doctor"])
def test_help_of_a_command_has_an_example(command):
    done = resg(command, "--help")
    assert done.exit_code == 0
    assert "Example" in done.output
    assert f"resg {command}" in done.output


def test_train_writes_a_run_and_tells_of_its_validation(shards, tmp_path):
    done = train(shards, tmp_path / "run", "--preset", "vse++")
    assert done.exit_code == 0
    lines = done.stderr.splitlines()
    assert lines[0].startswith("vse++: ")
    assert "parameters, float32 on cpu (" in lines[0]
    assert lines[1:4] == [
        "train: 48 images, 96 captions",
        "val: 12 images, 24 captions",
        "2 epochs of 6 steps, 12 steps in all",
    ]
    assert sum(line.startswith("epoch 2/2: loss ") for line in lines) == 1
    assert lines[-1] == f"Next: resg evaluate --run {tmp_path / 'run'}"
    run = open_run(tmp_path / "run")
    assert run.settings.preset == "vse++"
    assert run.settings.train.epochs == 2
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    kinds = [event["kind"] for event in read_metrics(run.folder)]
    assert kinds.count("validation") == 2
    assert kinds.count("step") == 12


def test_train_prints_what_happens_as_json_lines(shards, tmp_path):
    done = train(shards, tmp_path / "run", "--preset", "vse++", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert (events[0]["kind"], events[-1]["kind"]) == ("start", "end")
    measured = [event for event in events if event["kind"] in ("step", "validation")]
    assert measured == read_metrics(tmp_path / "run")


def test_train_goes_on_with_a_run_whose_shards_moved(shards, run, tmp_path):
    own = shutil.copytree(run, tmp_path / "run")
    content = json.loads((own / "run.json").read_text())
    content["settings"]["train"]["epochs"] = 3
    content["data"]["shards"] = str(tmp_path / "gone")
    (own / "run.json").write_text(json.dumps(content))
    lost = resg("train", "--resume", own, "--device", "cpu")
    assert lost.exit_code != 0
    assert str(tmp_path / "gone") in lost.stderr
    assert "--shards DIR" in lost.stderr
    done = resg("train", "--resume", own, "--shards", shards, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert last_checkpoint(own).name == "last-00000018"


def test_train_with_seeds_makes_a_run_for_each(shards, tmp_path):
    done = train(shards, tmp_path / "s", "--preset", "vse++", "--seeds", 2)
    assert done.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["seed-0", "seed-1"]
    table = resg("evaluate", "--run", tmp_path / "s", "--device", "cpu")
    assert " ± " in table.output
    figures = json.loads(resg("evaluate", "--run", tmp_path / "s", "--json").output)
    assert (figures["runs"], figures["protocol"]) == (2, "full")
    assert set(figures["deviation"]) >= {"i2t", "t2i", "rsum"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--preset", "resg-gpt"), f"expected a preset ({preset_names()[0]}"),
        (("--set", "train.epoch=1"), "Did you mean train.epochs?"),
        (("--set", "model.width=102"), "heads to divide width"),
        (("--seeds", "0"), "0 is not in the range"),
        (("--device", "cuda"), "Use --device cpu"),
        (("--device", "gpu"), "expected --device auto, cpu, cuda or cuda:NUMBER, got 'gpu'"),
    ],
)
def test_train_says_what_is_wrong_and_makes_no_run(arguments, message, shards, tmp_path):
    done = train(shards, tmp_path / "run", *arguments)
    assert done.exit_code != 0
    assert message in done.stderr
    assert "Traceback" not in done.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", [("--set", "train.epochs=9"), ("--preset", "vse++")])
def test_a_run_goes_on_with_its_own_settings_alone(option, run):
    done = resg("train", "--resume", run, *option, "--device", "cpu")
    assert done.exit_code == 2
    assert f"so {option[0]} cannot be given" in done.stderr


def test_train_needs_shards_and_a_folder_or_a_run(shards):
    assert "expected --shards and --out, or --resume" in resg("train").stderr
    assert "expected --shards and --out" in resg("train", "--shards", shards).stderr


def test_evaluate_prints_a_table_or_one_object(run):
    table = resg("evaluate", "--run", run, "--device", "cpu")
    assert table.exit_code == 0
    for column in ("i2t R@1", "t2i R@10", "rSum", "run"):
        assert column in table.output
    figures = json.loads(resg("evaluate", "--run", run, "--device", "cpu", "--json").output)
    recalls = [figures[way][k] for way in ("i2t", "t2i") for k in ("r1", "r5", "r10")]
    assert figures["rsum"] == pytest.approx(sum(recalls))
    assert figures["i2t"]["queries"] == 12
    assert (figures["images"], figures["captions"]) == (12, 24)
    assert figures["left_out"] == {"captions": 0, "images": 0}
    assert "split test, protocol full: 12 images, 24 captions" in table.output
    assert any("chance" in line and "8.3" in line for line in table.output.splitlines())
    assert f"{figures['rsum']:.1f}" in table.output


def test_evaluate_of_two_runs_is_an_ensemble_or_two_rows(run, shards, tmp_path):
    train(shards, tmp_path / "other", "--preset", "vse++")
    both = ("evaluate", "--run", run, "--run", tmp_path / "other", "--device", "cpu")
    assert "run + other" in resg(*both).output
    rows = json.loads(resg(*both, "--each", "--json").output)
    assert list(rows) == ["run", "other"]
    single = json.loads(resg("evaluate", "--run", run, "--device", "cpu", "--json").output)
    assert rows["run"] == single


def test_runs_of_the_same_name_have_a_row_each(run, tmp_path):
    twin = shutil.copytree(run, tmp_path / run.name)
    arguments = ("--run", run, "--run", twin, "--each", "--json", "--device", "cpu")
    assert list(json.loads(resg("evaluate", *arguments).output)) == [str(run), str(twin)]


def test_evaluate_scores_anybodys_matrix(tmp_path):
    scores = np.repeat(np.eye(1000, dtype=np.float32), 5, axis=1)
    np.save(tmp_path / "scores.npy", scores)
    command = ("evaluate", "--matrix", tmp_path / "scores.npy", "--protocol", "1k", "--json")
    assert json.loads(resg(*command).output)["rsum"] == 600
    scores[3, 4] = np.nan
    np.save(tmp_path / "scores.npy", scores)
    done = resg("evaluate", "--matrix", tmp_path / "scores.npy")
    assert done.exit_code == 1
    assert "image 3 and caption 4" in done.stderr


def test_a_saved_matrix_is_read_back_to_the_same_figures(run, shards, tmp_path):
    train(shards, tmp_path / "other", "--preset", "vse++")
    matrix = tmp_path / "scores.npy"
    both = ("--run", run, "--run", tmp_path / "other", "--split", "val", "--device", "cpu")
    told = json.loads(resg("evaluate", *both, "--save-matrix", matrix, "--json").output)
    again = resg("evaluate", "--matrix", matrix, "--json")
    assert again.exit_code == 0, again.output
    left_out = told.pop("left_out")
    assert left_out == {"captions": 0, "images": 0}
    assert json.loads(again.output) == told
    assert told["split"] == "val"
    ids = json.loads((tmp_path / "scores.ids.json").read_text())
    assert ids["image_ids"] == [f"val-{number}" for number in range(12)]
    assert ids["caption_ids"][:3] == ["val-0#0", "val-0#1", "val-1#0"]
    assert np.load(matrix).shape == (12, 24)


def test_a_matrix_to_save_is_one(run, tmp_path):
    (tmp_path / "s" / "seed-0").mkdir(parents=True)
    save = ("--save-matrix", tmp_path / "scores.npy")
    several = resg("evaluate", "--run", run, "--run", run, "--each", *save)
    assert several.exit_code == 2
    assert "leave out --each" in several.stderr
    seeds = resg("evaluate", "--run", tmp_path / "s", *save, "--device", "cpu")
    assert seeds.exit_code == 2
    assert f"Name one of them: --run {tmp_path / 's' / 'seed-0'}" in seeds.stderr
    text = resg("evaluate", "--run", run, "--save-matrix", tmp_path / "a.txt", "--device", "cpu")
    assert text.exit_code == 2
    assert not list(tmp_path.glob("*.npy"))
    np.save(tmp_path / "scores.npy", np.zeros((2, 10)))
    for option in (save, ("--pairs", tmp_path / "scores.npy")):
        beside = resg("evaluate", "--matrix", tmp_path / "scores.npy", *option)
        assert beside.exit_code == 2
        assert f"with {option[0]}, got --matrix" in beside.stderr


def test_evaluate_takes_runs_or_a_matrix_and_enough_images(run, tmp_path):
    assert "expected either --run RUN" in resg("evaluate").stderr
    few = resg("evaluate", "--run", run, "--device", "cpu", "--protocol", "1k")
    assert few.exit_code != 0
    assert "protocol 1k needs 1000 images, there are 12" in few.stderr
    missing = resg("evaluate", "--run", run, "--device", "cpu", "--split", "holdout")
    assert "no regions of split 'holdout'" in missing.stderr


def test_probe_refuses_captions_of_another_parser(run):
    done = resg("probe", "--run", run, "--device", "cpu")
    assert done.exit_code == 1
    assert "--model NAME_OR_PATH" in done.stderr


def test_doctor_says_what_is_here_and_that_a_run_is_whole(run, shards):
    done = resg("doctor", "--run", run)
    assert done.exit_code == 0
    for name in ("python", "torch", "devices", "kernels: torch", "cpu ("):
        assert name in done.output
    assert "its 2 training shards are unchanged" in done.output


def test_doctor_needs_a_run_to_check_shards_against(shards):
    done = resg("doctor", "--shards", shards)
    assert done.exit_code == 2
    assert "expected --run RUN beside --shards" in done.stderr


def test_doctor_finds_changed_shards_and_damaged_runs(run, shards, world, tmp_path):
    other = shutil.copytree(shards, tmp_path / "other")
    world.write_split(other, 0, "train", *world.make_split("train", 48, 9))
    done = resg("doctor", "--run", run, "--shards", other)
    assert done.exit_code == 1
    assert "2 shards are not those" in done.stderr
    bare = shutil.copytree(run, tmp_path / "bare")
    (bare / "best.safetensors").write_bytes(b"half")
    assert "best.safetensors is damaged" in resg("doctor", "--run", bare).stderr
    torn = shutil.copytree(run, tmp_path / "torn")
    (torn / "run.json").write_text('{"settings"')
    assert "run.json is damaged" in resg("doctor", "--run", torn).stderr


def test_doctor_checks_every_seed_and_prints_json(shards, tmp_path):
    train(shards, tmp_path / "seeds", "--seeds", "2")
    done = resg("doctor", "--run", tmp_path / "seeds", "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)["facts"]
    assert {"seed-0: run", "seed-1: run", "devices"} <= set(facts)
    (tmp_path / "seeds/seed-1/best.safetensors").write_bytes(b"half")
    broken = resg("doctor", "--run", tmp_path / "seeds", "--json")
    assert broken.exit_code == 1
    (fault,) = json.loads(broken.stdout)["faults"]
    assert fault.startswith("seed-1: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("evalute",), "Did you mean evaluate?"),
        (("prob",), "Did you mean probe?"),
        (("zzz",), "See resg --help."),
    ],
)
def test_an_unknown_command_is_told_the_nearest(arguments, said):
    done = resg(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_an_unknown_preset_is_told_the_nearest(shards, tmp_path):
    done = resg("train", "--shards", shards, "--out", tmp_path / "x", "--preset", "resg-gro")
    assert "Did you mean resg-gru?" in done.stderr


def test_the_version_is_printed():
    assert resg("--version").output == f"resg {pipeline.__version__}\n"


def completed(program, *words):
    """What the shell offers behind these words, as `resg` answers it."""
    variable = f"_{program.upper()}_COMPLETE"
    environment = {
        variable: "bash_complete",
        "COMP_WORDS": " ".join((program, *words)),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-m", program],
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("program", "words", "offered"),
    [
        ("resg", ("eval",), ["evaluate"]),
        ("resg", ("train", "--preset", "scan"), ["scan-i2t", "scan-t2i"]),
        ("resg", ("train", "--preset", "my/"), ["my/"]),  # a file
        ("resg", ("train", "--set", "train.epo"), ["train.epochs="]),
        ("resg", ("train", "--device", "c"), ["cpu", "cuda"]),
        ("pipeline", ("show-r",), ["show-regions"]),
        ("pipeline", ("extract-regions", "--detector", "ph"), ["photos", "photos:"]),
        ("pipeline", ("extract-regions", "--device", "a"), ["auto"]),
        ("pipeline", ("import-regions", "--on-error", "s"), ["skip", "stop"]),
    ],
)
def test_the_shell_completes_names(program, words, offered):
    assert completed(program, *words) == offered
