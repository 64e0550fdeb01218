"""What `resg index` prints: progress on a terminal or as lines, and the result."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from pipeline.terminal import error_console
from resg.index.build import IndexReport, OnProgress, Progress

SECONDS_BETWEEN_LINES = 10.0
SHOWN_FAILURES = 10


@contextmanager
def shown_progress() -> Iterator[OnProgress]:
    """What is called with the progress of `update_index`, and shows it on standard error."""
    console = error_console()
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]:,} failed"),
    )
    with Bars(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(progress: Progress) -> None:
            if progress.kind not in tasks:
                tasks[progress.kind] = bars.add_task(progress.kind, total=progress.total, failed=0)
            bars.update(tasks[progress.kind], completed=progress.done, failed=progress.failed)

        yield show


class _Lines:
    """A plain line every ten seconds and at the end."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.start = self.last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.done == 0:
            self.start = self.last = now
            return
        if now - self.last < SECONDS_BETWEEN_LINES and progress.done < progress.total:
            return
        self.last = now
        rate = progress.done / max(now - self.start, 1e-9)
        self.console.print(
            f"{progress.done:,} of {progress.total:,} new {progress.kind}, {rate:,.1f}/s, "
            f"{progress.failed:,} failed",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def report_text(report: IndexReport) -> str:
    """The result in a few lines, with the pictures that could not be indexed."""
    images, captions = report.items["images"], report.items["captions"]
    counts = f"{images:,} images" + (f" and {captions:,} captions" if captions else "")
    lines = [
        f"{report.out}: {counts}, {report.bytes_per_image:,.0f} bytes for each image; "
        f"{report.encoded:,} new, {report.kept:,} kept, {report.removed:,} removed "
        f"in {report.seconds:.1f} s"
    ]
    if report.failures:
        lines.append(f"{len(report.failures):,} could not be indexed:")
        shown = list(report.failures.items())[:SHOWN_FAILURES]
        lines += [f"  {_printable(id_)}: {reason}" for id_, reason in shown]
        if len(report.failures) > len(shown):
            lines.append(f"  ... all of them are in {report.out / 'index.json'}, `failures`")
        lines.append("They are tried again when their files change, or with --retry-failed.")
    return "\n".join(lines)


def report_json(report: IndexReport) -> str:
    """The result as one JSON object."""
    content: dict[str, Any] = {
        "index": str(report.out),
        **report.items,
        "encoded": report.encoded,
        "kept": report.kept,
        "removed": report.removed,
        "failures": dict(report.failures),
        "bytes_per_image": round(report.bytes_per_image),
        "seconds": round(report.seconds, 3),
    }
    return json.dumps(content, ensure_ascii=False)


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)
