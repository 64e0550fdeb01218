import io

import pytest
from rich.console import Console

from resg.evaluation.probes import ProbeReport
from resg.progress import TrainingTable, metrics_table, probe_table

STEP = {
    "kind": "step",
    "step": 100,
    "epoch": 1,
    "loss": 3.25,
    "triplet": 3.0,
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


def shown(table):
    console = Console(width=200, file=io.StringIO())
    console.print(table._table())
    return console.file.getvalue()


def test_the_live_table_shows_loss_its_parts_speed_memory_and_rsum():
    table = TrainingTable()
    table.console = table.live.console = Console(file=io.StringIO(), force_terminal=True, width=200)
    with table:
        assert table.live.is_started
        table.show(STEP)
        table.show(VALIDATION)
        text = shown(table)
    assert not table.live.is_started
    for column in ("epoch", "step", "loss", "triplet", "center", "margin", "pairs/s", "memory"):
        assert column in text
    for value in ("100", "3.250", "3.000", "0.500", "2.000", "1234", "3.0 GB", "198.0"):
        assert value in text


def test_without_a_terminal_every_fiftieth_step_and_every_evaluation_is_a_line(capsys):
    with TrainingTable() as table:
        for step in range(120):
            table.show({**STEP, "step": step})
        table.show(VALIDATION)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[1] == (
        "epoch 1 step 50: loss 3.250, triplet 3.000, center 0.500, margin 2.000, 1234 pairs/s"
    )
    assert lines[3] == "epoch 2: rSum 198.0, R@1 image to text 10.0, text to image 8.0"


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
    report = ProbeReport({"as trained": 300.0, "edges removed": 250.0}, share, 40, {"all": 71.0})
    text = probe_table(report)
    assert "edges removed" in text
    assert "250.0" in text
    assert "40 captions above their swapped form" in text
    assert ("62.5" in text) == (share is not None)
    assert "hard pairs, all" in text
