import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from resg.evaluation.probes import ProbeReport
from resg.progress import TrainingTable, evaluation_text, metrics_table, probe_table

STEP = {
    "kind": "step",
    "step": 100,
    "epoch": 1,
    "loss": 3.25,
    "triplet": 3.0,
    "contrastive": 1.5,
    "center": 0.5,
    "margin": 2.0,
    "learning_rate": 5e-4,
    "pairs_per_second": 1234.4,
    "memory": 3 * 2**30,
}


def recalls(*values):
    return dict(zip(("r1", "r5", "r10", "medr"), values, strict=True))


FIGURES = {"i2t": recalls(10.0, 40.0, 60.0, 7.0), "t2i": recalls(8.0, 30.0, 50.0, 10.0)}
VALIDATION = {"kind": "validation", "step": 100, "epoch": 2, "rsum": 198.0, **FIGURES}


START = {
    "kind": "start",
    "preset": "resg-gru",
    "parameters": 1234567,
    "device": "cpu (2 threads)",
    "processes": 1,
    "precision": "float32",
    "data": {
        "train": {
            "images": 960,
            "captions": 4795,
            "left_out": {"captions": 5, "images": 1},
        },
        "val": {"images": 120, "captions": 600, "left_out": {"captions": 0, "images": 0}},
    },
    "epochs": 5,
    "steps_per_epoch": 38,
    "epoch": 0,
    "best": {"epoch": 0, "rsum": -1.0},
}
END = {"kind": "end", "epoch": 5, "best": {"epoch": 2, "rsum": 198.0}, "folder": "my runs/a"}


@pytest.fixture
def clock(monkeypatch):
    """What sets the time that training tables see."""
    now = [0.0]
    monkeypatch.setattr("resg.progress.time", SimpleNamespace(monotonic=lambda: now[0]))

    def set_to(seconds):
        now[0] = seconds

    return set_to


def terminal_table():
    table = TrainingTable()
    table.console = table.live.console = Console(file=io.StringIO(), force_terminal=True, width=200)
    return table


def test_a_terminal_shows_the_current_step_below_the_lines_that_stay():
    table = terminal_table()
    with table:
        table.show(START)
        assert not table.live.is_started
        table.show(STEP)
        assert table.live.is_started
        table.live.refresh()
        text = table.console.file.getvalue()
        for column in ("epoch", "step", "loss", "triplet", "contrastive", "center", "margin"):
            assert column in text
        for column in ("pairs/s", "memory"):
            assert column in text
        for value in ("100", "3.250", "3.000", "1.500", "0.500", "2.000", "1234", "3.0 GB"):
            assert value in text
        table.show(VALIDATION)
        table.show(END)
        assert not table.live.is_started
    assert "epoch 2/5: loss 3.250" in table.console.file.getvalue()


def test_nothing_is_live_where_nothing_is_shown():
    """As in the other processes of torchrun, which share the terminal."""
    table = terminal_table()
    with table:
        assert not table.live.is_started
    assert table.console.file.getvalue() == ""


def test_the_start_tells_of_model_device_data_and_length(capsys):
    with TrainingTable() as table:
        table.show(START)
        table.show({**START, "epoch": 3, "processes": 2})
    lines = capsys.readouterr().err.splitlines()
    assert lines[:4] == [
        "resg-gru: 1,234,567 parameters, float32 on cpu (2 threads)",
        "train: 960 images, 4,795 captions; left out: 5 captions of 1 image without regions",
        "val: 120 images, 600 captions",
        "5 epochs of 38 steps, 190 steps in all",
    ]
    assert lines[4].endswith("float32 on 2 processes, cpu (2 threads) each")
    assert lines[7] == "5 epochs of 38 steps, 190 steps in all, resumed after epoch 3"


def test_without_a_terminal_every_fiftieth_step_is_a_line(capsys):
    with TrainingTable() as table:
        table.show(START)
        for step in range(120):
            table.show({**STEP, "step": step})
    lines = capsys.readouterr().err.splitlines()[4:]
    assert len(lines) == 3
    assert lines[1] == (
        "epoch 2 step 50: loss 3.250, triplet 3.000, contrastive 1.500, center 0.500, "
        "margin 2.000, 1234 pairs/s"
    )


def test_an_epoch_is_a_line_with_its_mean_loss_the_best_so_far_and_the_time_left(capsys, clock):
    with TrainingTable() as table:
        table.show(START)
        for epoch, rsum in enumerate((150.0, 198.0, 180.0, 190.0, 170.0), start=1):
            for loss in (1.0, 2.0 * epoch):
                table.show({**STEP, "step": 1, "epoch": epoch - 1, "loss": loss})
            clock(600.0 * epoch)
            table.show({**VALIDATION, "epoch": epoch, "rsum": rsum})
        table.show(END)
    lines = capsys.readouterr().err.splitlines()[4:]
    recall = "val R@1 10.0 image to text, 8.0 text to image"
    assert lines == [
        f"epoch 1/5: loss 1.500, {recall}, rSum 150.0 (best), 40 min left",
        f"epoch 2/5: loss 2.500, {recall}, rSum 198.0 (best), 30 min left",
        f"epoch 3/5: loss 3.500, {recall}, rSum 180.0 (best 198.0 in epoch 2), 20 min left",
        f"epoch 4/5: loss 4.500, {recall}, rSum 190.0 (best 198.0 in epoch 2), 10 min left",
        f"epoch 5/5: loss 5.500, {recall}, rSum 170.0 (best 198.0 in epoch 2)",
        "Best epoch: 2 of 5 (val rSum 198.0). Its weights, the metrics and curves.png are in "
        "my runs/a",
        "Next: resg evaluate --run 'my runs/a'",
    ]


def test_a_resumed_run_counts_its_own_time_and_knows_the_best_before(capsys, clock):
    clock(1000.0)
    with TrainingTable() as table:
        table.show({**START, "epoch": 3, "best": {"epoch": 1, "rsum": 250.0}})
        table.show({**STEP, "step": 1})
        clock(1030.0)
        table.show({**VALIDATION, "epoch": 4})
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("rSum 198.0 (best 250.0 in epoch 1), 30 s left")
    )


CHANCE = {"i2t": recalls(1.0, 5.0, 10.0, 14.0), "t2i": recalls(1.0, 5.0, 9.0, 20.5), "rsum": 31.0}
EVALUATED = {
    "split": "test",
    "protocol": "full",
    "images": 1000,
    "captions": 4995,
    "left_out": {"captions": 5, "images": 1, "hard_pairs": 2},
    "chance": CHANCE,
    **FIGURES,
    "rsum": 198.0,
}


def test_an_evaluation_says_what_was_ranked_and_what_chance_gives():
    figures = {**EVALUATED, "hard_pairs": {"all": 75.0}}
    text = evaluation_text({"a": figures, "b": figures})
    first, *table = text.splitlines()
    assert first == (
        "split test, protocol full: 1,000 images, 4,995 captions; left out: 5 captions of 1 image "
        "without regions, 2 hard pairs"
    )
    (chance,) = [line for line in table if "chance" in line]
    assert [cell.strip() for cell in chance.strip("│ ").split("│")] == (
        ["chance", "1.0", "5.0", "10.0", "14.0", "1.0", "5.0", "9.0", "20.5", "31.0", "50.0"]
    )


def test_runs_on_other_data_have_a_line_and_a_chance_each():
    other = {**EVALUATED, "captions": 10, "left_out": {"captions": 0, "images": 0}}
    lines = evaluation_text({"a": EVALUATED, "b": other}).splitlines()
    assert lines[0].startswith("a: split test, protocol full: 1,000 images, 4,995 captions; left")
    assert lines[1] == "b: split test, protocol full: 1,000 images, 10 captions"
    assert sum("chance, a" in line for line in lines) == 1
    assert sum("chance, b" in line for line in lines) == 1


def test_the_table_of_metrics_has_a_row_a_run_and_deviations_where_there_are_some():
    figures = {**FIGURES, "rsum": 198.0, "hard_pairs": {"all": 75.0}}
    spread = {
        "i2t": recalls(1.0, 2.0, 3.0, 0.5),
        "t2i": recalls(0.25, 2.0, 3.0, 0.5),
        "rsum": 4.0,
        "hard_pairs": {"all": 1.5},
    }
    text = metrics_table({"a": {**figures, "deviation": spread}, "b": figures})
    first, second = (next(li for li in text.splitlines() if f" {n} " in li) for n in "ab")
    for cell in ("10.0 ± 1.0", "8.0 ± 0.2", "198.0 ± 4.0", "75.0 ± 1.5"):
        assert cell in first
    assert "±" not in second
    assert "hard pairs" in text


@pytest.mark.parametrize("share", [62.5, None])
def test_the_table_of_probes(share):
    left_out = {"captions": 3, "images": 2}
    data = {"split": "val", "images": 9, "captions": 40, "left_out": left_out}
    report = ProbeReport(
        data, {"as trained": 300.0, "edges removed": 250.0}, share, 40, {"all": 71.0}
    )
    text = probe_table(report)
    assert text.startswith(
        "split val: 9 images, 40 captions; left out: 3 captions of 2 images without regions\n"
    )
    assert "edges removed" in text
    assert "250.0" in text
    assert "40 captions above their swapped form" in text
    assert ("62.5" in text) == (share is not None)
    assert "hard pairs, all" in text


@pytest.mark.parametrize("columns", [60, 100, 200])
def test_a_table_of_metrics_is_as_wide_as_the_terminal_and_cuts_nothing(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    way = {"r1": 12.25, "r5": 34.5, "r10": 100.0, "medr": 3.0}
    figures = {"i2t": way, "t2i": way, "rsum": 477.1, "hard_pairs": {"all": 50.0}}
    spread = {**figures, "deviation": figures}
    lines = metrics_table({"resg-gru, seeds": spread, "chance": figures}).splitlines()
    assert "…" not in "".join(lines)
    (seeds,) = (line for line in lines if "resg-gru, seeds" in line)
    assert seeds.count("±") == 10
    assert max(map(len, lines)) <= max(columns, 140)
    plain = metrics_table({"chance": figures}).splitlines()
    assert max(map(len, plain)) <= max(columns, 67)
