"""Charts of a report, as SVG in data URIs; colour is never the only sign."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from resg.report.collecting import RunReport
from resg.training.run_log import best_validation, loss_panels

COLOURS = ("#0050b3", "#b00020", "#1b6e1b", "#6a1b9a", "#7a3e00", "#00626b")
STYLES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P")
HATCHES = ("", "///", "...", "xx", "\\\\\\", "++")
WIDTH = 4.6
"""Inches; at a phone's width the text is still legible."""

BINS = ((0, 1, "1"), (1, 5, "2-5"), (5, 10, "6-10"), (10, 50, "11-50"), (50, 100, "51-100"))


def recall_chart(reports: Sequence[RunReport]) -> str:
    """Validation rSum over the epochs, a line for each run, the best epoch of each as a star."""
    figure, axes = _figure(3.2)
    for number, report in enumerate(reports):
        for seed, metrics in enumerate(filter(None, report.metrics)):
            validations = [event for event in metrics if event["kind"] == "validation"]
            if not validations:
                continue
            axes.plot(
                [event["epoch"] for event in validations],
                [event["rsum"] for event in validations],
                color=COLOURS[number % len(COLOURS)],
                linestyle=STYLES[number % len(STYLES)],
                marker=MARKERS[number % len(MARKERS)],
                markersize=3.5,
                label="" if seed else report.name,
            )
            best = best_validation(metrics)
            axes.plot(best["epoch"], best["rsum"], "*", color="#1a1a1a", markersize=11)
    axes.set(xlabel="epoch", ylabel="validation rSum (of 600)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=9)
    return _uri(figure)


def loss_chart(metrics: Sequence[dict[str, Any]]) -> str:
    """Each part of the loss over the epochs of a run in a panel of its own."""
    panels = loss_panels(metrics)
    best = best_validation(metrics)["epoch"]
    figure = Figure(figsize=(WIDTH, 0.5 + 1.15 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for number, (ax, panel) in enumerate(zip(axes, panels, strict=True)):
        panel.draw(ax, COLOURS[number % len(COLOURS)])
        ax.axvline(best, color="#595959", linewidth=1, linestyle=":")
    axes[-1].set(xlabel="epoch (dotted: the best)")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return _uri(figure)


def rank_chart(reports: Sequence[RunReport]) -> str:
    """The share of queries by the place of the right answer, in both directions."""
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    for ax, title, ranks in zip(
        figure.subplots(2, sharex=True),
        ("captions that look for their image", "images that look for a caption"),
        ([r.caption_ranks for r in reports], [r.image_ranks for r in reports]),
        strict=True,
    ):
        shares = [rank_shares(own) for own in ranks]
        width = 0.8 / len(reports)
        for number, (report, own) in enumerate(zip(reports, shares, strict=True)):
            ax.bar(
                np.arange(len(own)) + (number - (len(reports) - 1) / 2) * width,
                [*own.values()],
                width,
                label=report.name,
                color=COLOURS[number % len(COLOURS)],
                hatch=HATCHES[number % len(HATCHES)],
                edgecolor="white",
            )
        ax.set(ylabel="% of queries", title=title)
        ax.title.set_fontsize(10)
        ax.set_xticks(range(len(shares[0])), [*shares[0]], fontsize=9)
    figure.axes[1].set_xlabel("place of the right answer")
    figure.axes[0].legend(fontsize=9)
    return _uri(figure)


def rank_shares(ranks: NDArray[np.int64]) -> dict[str, float]:
    """Share of ranks, in percent, in each bin of places; ranks count from 0, places from 1."""
    shares = {
        name: 100 * float(np.mean((ranks >= low) & (ranks < high))) for low, high, name in BINS
    }
    return {**shares, "> 100": 100 * float(np.mean(ranks >= BINS[-1][1]))}


def _figure(height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots()


def _uri(figure: Figure) -> str:
    FigureCanvasSVG(figure)
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "resg"}):  # the same bytes each time
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
