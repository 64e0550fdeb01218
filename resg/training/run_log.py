"""Metrics of a run: JSON lines, TensorBoard if the extra is installed, and a plot at the end."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from resg.errors import ResgError
from resg.training.losses import PARTS

METRICS_FILE = "metrics.jsonl"

LOGARITHMIC_FROM = 20
"""A loss whose highest value is as many times its median has a logarithmic axis above that."""


class RunLog:
    """Writes `metrics.jsonl` in a run folder, and TensorBoard's file if it is installed.

    Args:
        folder: of the run.
        on_event: is called with every line, and with what is announced.
    """

    def __init__(self, folder: Path, on_event: Callable[[Mapping[str, Any]], None]) -> None:
        self.path = folder / METRICS_FILE
        self.on_event = on_event
        self.board = _tensorboard(folder)

    def announce(self, event: Mapping[str, Any]) -> None:
        """The start or the end of training, which are no metrics."""
        self.on_event(event)

    def step(self, event: Mapping[str, Any]) -> None:
        """One training step."""
        self._write({"kind": "step", **event})

    def validation(self, event: Mapping[str, Any]) -> None:
        """One evaluation on the validation split."""
        self._write({"kind": "validation", **event})

    def close(self) -> None:
        """Flush and close TensorBoard's file; a later event opens another."""
        if self.board is not None:
            self.board.close()

    def cut(self, step: int) -> None:
        """Drop what was written after the checkpoint of this step, which training resumes from."""
        if not self.path.exists():  # it was stopped before the first step
            return
        kept = [
            event
            for event in read_metrics(self.path.parent)
            if event["step"] < step or (event["kind"] == "validation" and event["step"] == step)
        ]
        self.path.write_text("".join(json.dumps(e) + "\n" for e in kept), encoding="utf-8")

    def _write(self, event: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(event) + "\n")
        if self.board is not None:
            for name, value in _flat(event):
                self.board.add_scalar(f"{event['kind']}/{name}", value, event["step"])
        self.on_event(event)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All lines of a run's metrics; a last line that a crash cut short is skipped.

    Raises:
        ResgError: there are none.
    """
    path = folder / METRICS_FILE
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise ResgError(f"expected the metrics of a run in {path}, there are none.") from error
    # what follows the last line break is either empty or half a line
    return [json.loads(line) for line in lines[:-1]]


def draw_curves(folder: Path) -> Path:
    """Draw losses and validation rSum over the epochs of a run; returns the PNG's path.

    Each part of the loss has a panel of its own, since their sizes differ by orders of magnitude;
    parts that are always 0 have none. At least one epoch must be finished.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    events = read_metrics(folder)
    validations = [event for event in events if event["kind"] == "validation"]
    panels = loss_panels(events)
    figure = Figure(figsize=(10, max(4, 1.5 * len(panels))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic([[panel.part, "rsum"] for panel in panels])
    for number, panel in enumerate(panels):
        own = axes[panel.part]
        panel.draw(own, f"C{number}")
        own.label_outer()
    axes[panels[0].part].set_title("Training losses")
    axes[panels[-1].part].set(xlabel="epoch")
    best = best_validation(events)
    recall = axes["rsum"]
    recall.plot([e["epoch"] for e in validations], [e["rsum"] for e in validations], marker=".")
    recall.plot(best["epoch"], best["rsum"], marker="*", markersize=14, linestyle="none")
    recall.axvline(best["epoch"], color="grey", linewidth=0.8, linestyle=":")
    recall.set(xlabel="epoch", ylabel="rSum (of 600)")
    recall.set_title(f"Validation: best {best['rsum']:.1f} in epoch {best['epoch']}")
    recall.xaxis.set_major_locator(MaxNLocator(integer=True))
    path = folder / "curves.png"
    figure.savefig(path, dpi=120)
    return path


def best_validation(events: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The evaluation with the highest rSum, the first of several; at least one must be there."""
    validations = (event for event in events if event["kind"] == "validation")
    return max(validations, key=lambda event: event["rsum"])


@dataclass(frozen=True)
class LossPanel:
    """A part of the loss over a run.

    Attributes:
        part: its name.
        epochs: of each step, in parts of an epoch.
        values: at each step.
    """

    part: str
    epochs: list[float]
    values: list[float]

    def draw(self, axes: Any, colour: str) -> None:
        """Draw it on axes that start at 0.

        Where the first steps are far above all others, as sums of violations are, the upper part of
        the axis is logarithmic: else the others would lie on the axis.
        """
        highest = max(self.values)
        axes.plot(self.epochs, self.values, color=colour, linewidth=0.8)
        if highest > LOGARITHMIC_FROM * median(self.values) > 0:
            axes.set_yscale("symlog", linthresh=median(self.values))
        limits = (0, 1.05 * highest or 1.0)
        axes.set(ylabel=self.part, ylim=limits, xlim=(0, max(self.epochs)))


def loss_panels(events: Sequence[Mapping[str, Any]]) -> list[LossPanel]:
    """The loss, and the parts that it is the sum of if there are several, without those always 0.

    Args:
        events: metrics of a run with at least one finished epoch.
    """
    steps = [event for event in events if event["kind"] == "step"]
    first = next(event for event in events if event["kind"] == "validation")
    epochs = [(event["step"] + 1) * first["epoch"] / first["step"] for event in steps]
    parts = [part for part in PARTS if part != "loss" and any(e[part] for e in steps)]
    return [
        LossPanel(part, epochs, [event[part] for event in steps])
        for part in ["loss", *(parts if len(parts) > 1 else [])]
    ]


def _tensorboard(folder: Path) -> Any | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # the extra `track` is not installed: JSON lines alone
        return None
    return SummaryWriter(str(folder / "tensorboard"))


def _flat(event: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in event.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", value
