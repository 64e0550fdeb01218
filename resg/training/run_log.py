"""Metrics of a run: JSON lines, TensorBoard if the extra is installed, and a plot at the end."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from resg.errors import ResgError
from resg.training.losses import PARTS

METRICS_FILE = "metrics.jsonl"


class RunLog:
    """Writes `metrics.jsonl` in a run folder, and TensorBoard's file if it is installed.

    Args:
        folder: of the run.
        on_event: is called with every line.
    """

    def __init__(self, folder: Path, on_event: Callable[[Mapping[str, Any]], None]) -> None:
        self.path = folder / METRICS_FILE
        self.on_event = on_event
        self.board = _tensorboard(folder)

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
    """Draw loss and validation recall over steps; returns the PNG's path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    events = read_metrics(folder)
    steps = [event for event in events if event["kind"] == "step"]
    validations = [event for event in events if event["kind"] == "validation"]
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    loss, recall = figure.subplots(1, 2)
    for part in PARTS:
        loss.plot([e["step"] for e in steps], [e[part] for e in steps], label=part, linewidth=1)
    loss.set_yscale("symlog", linthresh=0.1)  # a sum of all violations is large, parts may be 0
    loss.set(xlabel="step", ylabel="loss", title="Training")
    loss.legend()
    recall.plot([e["step"] for e in validations], [e["rsum"] for e in validations], marker=".")
    recall.set(xlabel="step", ylabel="rSum (of 600)", title="Validation")
    path = folder / "curves.png"
    figure.savefig(path, dpi=120)
    return path


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
