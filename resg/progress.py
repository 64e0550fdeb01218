"""Terminal output: the live table of a training run, and tables of results."""

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from rich.console import Console
from rich.live import Live
from rich.table import Column, Table

if TYPE_CHECKING:
    from resg.evaluation.probes import ProbeReport

PLAIN_EVERY = 50
STEP_COLUMNS = ("loss", "triplet", "center", "margin")


class TrainingTable:
    """A live table in a terminal; elsewhere one line every 50 steps and for each evaluation."""

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
    """A text table of Recall@K both ways, rSum, and the accuracy on hard pairs if it is known.

    Args:
        rows: name to figures, as `Evaluation.as_json` gives them; if they have a `deviation`, each
            figure is followed by its own.
    """
    table = Table("")
    for way in ("i2t", "t2i"):
        for column in ("R@1", "R@5", "R@10", "MedR"):
            table.add_column(f"{way} {column}", justify="right")
    table.add_column("rSum", justify="right")
    has_pairs = any("hard_pairs" in figures for figures in rows.values())
    if has_pairs:
        table.add_column("hard pairs", justify="right")
    paths = [(way, key) for way in ("i2t", "t2i") for key in ("r1", "r5", "r10", "medr")]
    paths += [("rsum",)] + ([("hard_pairs", "all")] if has_pairs else [])
    for name, figures in rows.items():
        spread = figures.get("deviation")
        cells = [_figure(_at(figures, path), spread and _at(spread, path)) for path in paths]
        table.add_row(name, *cells)
    return _as_text(table)


def _at(figures: Mapping[str, Any], path: tuple[str, ...]) -> float:
    for name in path:
        figures = figures[name]
    return float(cast(float, figures))  # the path ends at a number


def probe_table(report: "ProbeReport") -> str:
    """A text table of the results of `resg probe`."""
    table = Table("probe", "measure", Column("value", justify="right"))
    for name, rsum in report.rsum.items():
        table.add_row(name, "rSum (of 600)", f"{rsum:.1f}")
    swap = "-" if report.relation_swap is None else f"{report.relation_swap:.1f}"
    what = f"% of {report.num_swapped} captions above their swapped form (chance: 50)"
    table.add_row("subject and object exchanged", what, swap)
    for relation, share in (report.hard_pairs or {}).items():
        table.add_row(f"hard pairs, {relation}", "% told apart (chance: 50)", f"{share:.1f}")
    return _as_text(table)


def _as_text(table: Table) -> str:
    console = Console(width=200, no_color=True)
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip()


def _figure(value: float, deviation: float | None) -> str:
    return f"{value:.1f}" if deviation is None else f"{value:.1f} ± {deviation:.1f}"
