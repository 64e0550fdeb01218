"""Terminal output: the live table of a training run, and tables of results."""

import shlex
import time
from collections.abc import Mapping
from io import StringIO
from shutil import get_terminal_size
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Column, Table

from pipeline.terminal import error_console

if TYPE_CHECKING:
    from resg.evaluation.probes import ProbeReport

PLAIN_EVERY = 50
_WIDEST = 10_000
STEP_COLUMNS = ("loss", "triplet", "contrastive", "center", "margin")


class TrainingTable:
    """What a training run prints: its data and model, one line per epoch, where its results are.

    A terminal shows the current step below these lines; elsewhere every 50th step is a line.
    """

    def __init__(self) -> None:
        self.console = error_console()
        self.live = Live(console=self.console, refresh_per_second=4, transient=True)
        self.start: Mapping[str, Any] = {}
        self.began = 0.0
        self.best: Mapping[str, Any] = {"epoch": 0, "rsum": -1.0}
        self.losses: list[float] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.live.stop()

    def show(self, event: Mapping[str, Any]) -> None:
        """Show the start, a step, a validation or the end of a run."""
        if event["kind"] == "start":
            self.start, self.began, self.best = event, time.monotonic(), event["best"]
            self.losses = []
            self._print(_start_text(event))
        elif event["kind"] == "step":
            self._show_step(event)
        elif event["kind"] == "validation":
            self._print(self._epoch_text(event))
            self.losses = []
        else:
            self.live.stop()
            self._print(_end_text(event))

    def _print(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def _show_step(self, event: Mapping[str, Any]) -> None:
        self.losses.append(event["loss"])
        if self.console.is_terminal:
            self.live.start()
            self.live.update(_step_table(event))
        elif event["step"] % PLAIN_EVERY == 0:
            self._print(_step_text(event))

    def _epoch_text(self, event: Mapping[str, Any]) -> str:
        """`epoch 2/30: loss 3.250, val R@1 ..., rSum ..., the best so far, and the time left."""
        epoch, epochs = event["epoch"], self.start["epochs"]
        if event["rsum"] > self.best["rsum"]:
            self.best = {"epoch": epoch, "rsum": event["rsum"]}
        is_best = self.best["epoch"] == epoch
        best = "best" if is_best else f"best {self.best['rsum']:.1f} in epoch {self.best['epoch']}"
        seconds = (time.monotonic() - self.began) / (epoch - self.start["epoch"])
        left = f", {_duration(seconds * (epochs - epoch))} left" if epoch < epochs else ""
        return (
            f"epoch {epoch}/{epochs}: loss {sum(self.losses) / len(self.losses):.3f}, "
            f"val R@1 {event['i2t']['r1']:.1f} image to text, {event['t2i']['r1']:.1f} text to "
            f"image, rSum {event['rsum']:.1f} ({best}){left}"
        )


def _start_text(event: Mapping[str, Any]) -> str:
    data = event["data"].items()
    where = event["device"]
    if event["processes"] > 1:
        where = f"{event['processes']} processes, {where} each"
    steps = event["epochs"] * event["steps_per_epoch"]
    resumed = f", resumed after epoch {event['epoch']}" if event["epoch"] else ""
    return "\n".join(
        [
            f"{event['preset']}: {event['parameters']:,} parameters, {event['precision']} on "
            f"{where}",
            *(f"{split}: {_data_text(counts)}" for split, counts in data),
            f"{_count(event['epochs'], 'epoch')} of {_count(event['steps_per_epoch'], 'step')}, "
            f"{_count(steps, 'step')} in all{resumed}",
        ]
    )


def _end_text(event: Mapping[str, Any]) -> str:
    best, folder = event["best"], event["folder"]
    return (
        f"Best epoch: {best['epoch']} of {event['epoch']} (val rSum {best['rsum']:.1f}). "
        f"Its weights, the metrics and curves.png are in {folder}\n"
        f"Next: resg evaluate --run {shlex.quote(folder)}"
    )


def _step_table(event: Mapping[str, Any]) -> Table:
    table = Table(box=None)
    for column in ("epoch", "step", *STEP_COLUMNS, "pairs/s", "memory"):
        table.add_column(column, justify="right")
    table.add_row(
        str(event["epoch"] + 1),
        str(event["step"]),
        *(f"{event[part]:.3f}" for part in STEP_COLUMNS),
        f"{event['pairs_per_second']:.0f}",
        f"{event['memory'] / 2**30:.1f} GB" if event["memory"] else "-",
    )
    return table


def _step_text(event: Mapping[str, Any]) -> str:
    parts = ", ".join(f"{part} {event[part]:.3f}" for part in STEP_COLUMNS)
    return (
        f"epoch {event['epoch'] + 1} step {event['step']}: {parts}, "
        f"{event['pairs_per_second']:.0f} pairs/s"
    )


def _data_text(counts: Mapping[str, Any]) -> str:
    """Images and captions of a split, and what is left out of it."""
    text = f"{_count(counts['images'], 'image')}, {_count(counts['captions'], 'caption')}"
    left_out = counts.get("left_out", {})
    if left_out.get("captions"):
        lost = _count(left_out["captions"], "caption")
        text += f"; left out: {lost} of {_count(left_out['images'], 'image')} without regions"
    if left_out.get("hard_pairs"):
        text += f", {_count(left_out['hard_pairs'], 'hard pair')}"
    return text


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def evaluation_text(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """What was evaluated, and the table of metrics with a row of chance.

    Args:
        rows: name to figures, as `resg.jobs.evaluate_runs` gives them.
    """
    texts = {name: _evaluated(figures) for name, figures in rows.items()}
    has_pairs = any("hard_pairs" in figures for figures in rows.values())
    chances = {
        name: {**figures["chance"], **({"hard_pairs": {"all": 50.0}} if has_pairs else {})}
        for name, figures in rows.items()
    }
    first = next(iter(rows))
    if len({*texts.values()}) == 1:
        lines, chances = [texts[first]], {"chance": chances[first]}
    else:
        lines = [f"{name}: {text}" for name, text in texts.items()]
        chances = {f"chance, {name}": chance for name, chance in chances.items()}
    return "\n".join([*lines, metrics_table({**rows, **chances})])


def _evaluated(figures: Mapping[str, Any]) -> str:
    split = f"split {figures['split']}, " if "split" in figures else ""
    return f"{split}protocol {figures['protocol']}: {_data_text(figures)}"


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
    data = f"split {report.data['split']}: {_data_text(report.data)}"
    for name, rsum in report.rsum.items():
        table.add_row(name, "rSum (of 600)", f"{rsum:.1f}")
    swap = "-" if report.relation_swap is None else f"{report.relation_swap:.1f}"
    what = f"% of {report.num_swapped} captions above their swapped form (chance: 50)"
    table.add_row("subject and object exchanged", what, swap)
    for relation, share in (report.hard_pairs or {}).items():
        table.add_row(f"hard pairs, {relation}", "% told apart (chance: 50)", f"{share:.1f}")
    return f"{data}\n{_as_text(table)}"


def _as_text(table: Table) -> str:
    """The table without escape codes, as wide as the terminal; no figure is cut on a narrow one."""
    out = StringIO()
    console = Console(file=out, color_system=None, width=_WIDEST)
    terminal = get_terminal_size(fallback=(_WIDEST, 24)).columns  # a pipe has no width
    if console.measure(table).maximum > terminal:
        table.box, table.pad_edge, table.padding = SIMPLE_HEAD, False, (0, 0)
        for column in table.columns:  # heads are wrapped between words, cells are not
            parts = [*str(column.header).split(), *map(str, column.cells)]
            column.min_width = max(map(len, parts))
    console.print(table, width=max(terminal, console.measure(table).minimum))
    return out.getvalue().rstrip()


def _figure(value: float, deviation: float | None) -> str:
    return f"{value:.1f}" if deviation is None else f"{value:.1f} ± {deviation:.1f}"
