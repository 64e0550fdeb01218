"""Progress of a run: a bar on a terminal, plain lines elsewhere, JSON lines in a file."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.execution.plan import ShardJob
from pipeline.execution.stage import ExecutionSettings
from pipeline.execution.task import ShardOutcome
from pipeline.terminal import error_console

SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True)
class Extent:
    """The size of a run.

    Attributes:
        stage: its name.
        noun: what its items are called.
        shards: number of shards to make.
        items: number of items in them.
    """

    stage: str
    noun: str
    shards: int
    items: int


class Listener(Protocol):
    """Receives each shard that is made."""

    def shard_made(self, job: ShardJob, outcome: ShardOutcome) -> None:
        """Called when a shard is finished."""
        ...


@contextmanager
def open_listeners(execution: ExecutionSettings, extent: Extent) -> Iterator[Sequence[Listener]]:
    """The listeners that the settings ask for."""
    with ExitStack() as stack:
        listeners: list[Listener] = []
        if execution.log_json is not None:
            listeners.append(stack.enter_context(_json_log(execution.log_json, extent)))
        if execution.progress:
            console = error_console()
            shown = _bar(console, extent) if console.is_terminal else _lines(console, extent)
            listeners.append(stack.enter_context(shown))
        yield listeners


class _Bar:
    def __init__(self, progress: Progress, extent: Extent) -> None:
        self.progress = progress
        self.task = progress.add_task(extent.stage, total=extent.items, failed=0, rate="")
        self.failed = 0
        self.worked = 0
        self.start = time.monotonic()

    def shard_made(self, job: ShardJob, outcome: ShardOutcome) -> None:
        self.failed += outcome.failed
        self.worked += outcome.worked
        rate = self.worked / max(time.monotonic() - self.start, 1e-9)
        self.progress.update(
            self.task, advance=outcome.worked, failed=self.failed, rate=f"{rate:,.1f}/s"
        )


@contextmanager
def _bar(console: Console, extent: Extent) -> Iterator[_Bar]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} " + extent.noun),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]:,} failed"),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bar(progress, extent)


class _Lines:
    def __init__(self, console: Console, extent: Extent) -> None:
        self.console = console
        self.extent = extent
        self.worked = 0
        self.failed = 0
        self.start = self.last = time.monotonic()

    def shard_made(self, job: ShardJob, outcome: ShardOutcome) -> None:
        self.worked += outcome.worked
        self.failed += outcome.failed
        now = time.monotonic()
        if now - self.last < SECONDS_BETWEEN_LINES and self.worked < self.extent.items:
            return
        self.last = now
        rate = self.worked / max(now - self.start, 1e-9)
        left = timedelta(seconds=round((self.extent.items - self.worked) / rate)) if rate else "?"
        self.console.print(
            f"{self.extent.stage}: {self.worked:,} of {self.extent.items:,} {self.extent.noun}, "
            f"{rate:,.1f}/s, {left} left, {self.failed:,} failed",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


@contextmanager
def _lines(console: Console, extent: Extent) -> Iterator[_Lines]:
    yield _Lines(console, extent)


class _JsonLog:
    def __init__(self, stream: IO[str], extent: Extent) -> None:
        self.stream = stream
        self.extent = extent

    def write(self, event: str, **facts: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "event": event, "stage": self.extent.stage} | facts
        self.stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.stream.flush()

    def shard_made(self, job: ShardJob, outcome: ShardOutcome) -> None:
        self.write(
            "shard",
            shard=job.path.name,
            split=job.split,
            records=outcome.records,
            worked=outcome.worked,
            failed=outcome.failed,
            seconds=round(outcome.seconds, 3),
        )


@contextmanager
def _json_log(target: str, extent: Extent) -> Iterator[_JsonLog]:
    with ExitStack() as stack:
        if target == "-":
            stream = sys.stdout
        else:
            # Append: a resumed run continues its log.
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            stream = stack.enter_context(Path(target).open("a", encoding="utf-8"))
        log = _JsonLog(stream, extent)
        log.write("start", shards=extent.shards, items=extent.items)
        try:
            yield log
        except BaseException as error:
            log.write("end", ok=False, reason=str(error) or type(error).__name__)
            raise
        log.write("end", ok=True)
