"""What a user sees: the live table of a training run, and tables of results."""

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

PLAIN_EVERY = 50
STEP_COLUMNS = ("loss", "triplet", "center", "margin")


class TrainingTable:
    """A live table in a terminal; elsewhere a plain line every 50 steps and every evaluation."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.live = Live(console=self.console, refresh_per_second=4)
        self.step: Mapping[str, Any] = {}
        self.validation: Mapping[str, Any] = {}

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live.is_started:
            self.live.stop()

    def show(self, event: Mapping[str, Any]) -> None:
        """Show one line of the metrics."""
        if event["kind"] == "validation":
            self.validation = event
        else:
            self.step = event
        if self.live.is_started:
            self.live.update(self._table())
        elif event["kind"] == "validation" or event["step"] % PLAIN_EVERY == 0:
            print(_plain(event), file=sys.stderr, flush=True)

    def _table(self) -> Table:
        table = Table(box=None)
        columns = ("epoch", "step", *STEP_COLUMNS, "pairs/s", "memory", "rSum")
        for column in columns:
            table.add_column(column, justify="right")
        step = self.step
        if step:
            table.add_row(
                str(step["epoch"]),
                str(step["step"]),
                *(f"{step[part]:.3f}" for part in STEP_COLUMNS),
                f"{step['pairs_per_second']:.0f}",
                f"{step['memory'] / 2**30:.1f} GB" if step["memory"] else "-",
                f"{self.validation['rsum']:.1f}" if self.validation else "-",
            )
        return table


def _plain(event: Mapping[str, Any]) -> str:
    if event["kind"] == "validation":
        i2t, t2i = event["i2t"], event["t2i"]
        return (
            f"epoch {event['epoch']}: rSum {event['rsum']:.1f}, R@1 image to text "
            f"{i2t['r1']:.1f}, text to image {t2i['r1']:.1f}"
        )
    parts = ", ".join(f"{part} {event[part]:.3f}" for part in STEP_COLUMNS)
    return f"epoch {event['epoch']} step {event['step']}: {parts}, " + (
        f"{event['pairs_per_second']:.0f} pairs/s"
    )


def metrics_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """A text table of Recall@K both ways and rSum.

    Args:
        rows: name to figures, as `Evaluation.as_json` gives them; with a `deviation` beside them
            each figure is followed by its own.
    """
    table = Table()
    table.add_column("")
    for way in ("i2t", "t2i"):
        for column in ("R@1", "R@5", "R@10", "MedR"):
            table.add_column(f"{way} {column}", justify="right")
    table.add_column("rSum", justify="right")
    for name, figures in rows.items():
        spread = figures.get("deviation")
        cells = [
            _figure(figures[way][key], spread and spread[way][key])
            for way in ("i2t", "t2i")
            for key in ("r1", "r5", "r10", "medr")
        ]
        table.add_row(name, *cells, _figure(figures["rsum"], spread and spread["rsum"]))
    console = Console(width=140, no_color=True)
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip()


def _figure(value: float, deviation: float | None) -> str:
    return f"{value:.1f}" if deviation is None else f"{value:.1f} ± {deviation:.1f}"
