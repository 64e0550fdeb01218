"""The task of a worker: make the records of one shard, write it, return only counts."""

import errno
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.errors import PipelineError
from pipeline.execution.plan import ShardJob
from pipeline.execution.stage import Item, Stage
from pipeline.shards.arrays import open_shard
from pipeline.shards.records import Failure, ImageRegions, ParsedCaption
from pipeline.shards.sidecar import read_sidecar, sidecar_path
from pipeline.shards.writer import write_shard

Record = ImageRegions | ParsedCaption

# Errors of the system that a retry does not solve.
_LASTING = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOLCK,
    errno.ENOSYS,
    errno.ENOTSUP,
}


stopped_runs: set[str] = set()
"""Runs of this process that ended early; their threads stop at the next item."""


@dataclass(frozen=True)
class TaskSettings:
    """What every task of a run shares.

    Attributes:
        run: unique name of the run.
        settings: of the stage.
        fingerprint: of the run.
        on_error: whether a bad item ends the run (`stop`) or is skipped (`skip`).
        tasks_per_host: how many tasks run at a time on each host.
    """

    run: str
    settings: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    on_error: Literal["skip", "stop"]
    tasks_per_host: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ShardOutcome:
    """The result of one task.

    Attributes:
        records: images or captions in it.
        worked: items that were processed.
        failed: items that failed.
        seconds: time in the worker.
        stopped_by: the bad item that ended the run; then the shard was not written.
        fault: why the shard cannot be made, if a retry would not help.
        exit_code: of the fault.
    """

    records: int = 0
    worked: int = 0
    failed: int = 0
    seconds: float = 0.0
    stopped_by: Failure | None = None
    fault: str | None = None
    exit_code: int = 1


def run_shard(stage: Stage, job: ShardJob, shared: TaskSettings) -> ShardOutcome:
    """Make one shard in a worker and write it.

    Raises:
        Exception: the stage or the operating system failed; the scheduler retries.
    """
    start = time.perf_counter()
    failures: list[Failure] = []
    worked, outcomes = _outcomes(stage, job, _threads(shared.tasks_per_host))
    try:
        sidecar = write_shard(
            job.path,
            stage.kind,
            _records(outcomes, failures, shared),
            settings=shared.settings,
            fingerprint=shared.fingerprint,
            split=job.split,
            names=stage.names,
            failures=failures,  # grows while the records are read
            dtype=stage.dtype,
        )
    except _BadItemError as stop:
        return ShardOutcome(stopped_by=stop.failure)
    except PipelineError as error:
        return ShardOutcome(fault=str(error), exit_code=error.exit_code)
    except OSError as error:
        if error.errno not in _LASTING:
            raise
        return ShardOutcome(fault=f"{job.path} could not be written: {error.strerror}.")
    return ShardOutcome(
        records=sidecar.num_records,
        worked=worked,
        failed=len(failures),
        seconds=time.perf_counter() - start,
    )


class _BadItemError(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def _records(
    outcomes: Iterator[Record | Failure], failures: list[Failure], shared: TaskSettings
) -> Iterator[Record]:
    for outcome in outcomes:
        if shared.run in stopped_runs:
            raise CancelledError
        if not isinstance(outcome, Failure):
            yield outcome
        elif shared.on_error == "stop":
            raise _BadItemError(outcome)
        else:
            failures.append(outcome)


def _outcomes(stage: Stage, job: ShardJob, threads: int) -> tuple[int, Iterator[Record | Failure]]:
    """The number of items to process, and the outcomes of all items of the shard."""
    beside = sidecar_path(job.path)
    # A retry whose worker died between removing the old sidecar and writing the new is a new shard.
    if not (job.is_retry and beside.exists()):
        return len(job.items), _process(stage, job.items, threads)
    sidecar = read_sidecar(beside)
    kept = open_shard(job.path, sidecar)
    rows = {id: row for row, id in enumerate(kept.ids)}
    again = [item for item in job.items if item.id not in rows]
    outcomes = _process(stage, again, threads)
    return len(again), (
        kept.record(rows[item.id]) if item.id in rows else next(outcomes) for item in job.items
    )


def _process(stage: Stage, items: Sequence[Item], threads: int) -> Iterator[Record | Failure]:
    """One outcome per item; an exception fails only the item that was due."""
    done = 0
    while done < len(items):
        try:
            for outcome in stage.process(items[done:], threads):
                yield _of(items[done] if done < len(items) else None, outcome, stage)
                done += 1
            if done < len(items):
                raise _BrokenStageError(f"{stage.name} gave no outcome for {items[done].id!r}")
        except (PipelineError, _BrokenStageError):
            raise
        except Exception:
            yield _alone(stage, items[done], threads)
            done += 1


def _alone(stage: Stage, item: Item, threads: int) -> Record | Failure:
    try:
        (outcome,) = stage.process([item], threads)
    except PipelineError:
        raise
    except Exception as error:
        return Failure(item.id, f"{type(error).__name__}: {error}")
    return _of(item, outcome, stage)


class _BrokenStageError(Exception):
    """The stage violates its contract; no item is at fault."""


def _of(item: Item | None, outcome: Record | Failure, stage: Stage) -> Record | Failure:
    match outcome:
        case Failure():
            id = outcome.id
        case ImageRegions():
            id = outcome.image_id
        case ParsedCaption():
            id = outcome.caption_id
    if item is None or id != item.id:
        due = f"that of {item.id!r}" if item else "none"
        raise _BrokenStageError(f"{stage.name} gave an outcome of {id!r}, due was {due}")
    return outcome


def _threads(tasks_per_host: Mapping[str, int]) -> int:
    """The cores of this host for each of its tasks; all of them for the only task of a run."""
    from dask.system import CPU_COUNT  # knows of cgroups and affinity

    if not tasks_per_host:
        return CPU_COUNT
    from distributed import get_worker
    from distributed.comm.addressing import get_address_host

    host = get_address_host(get_worker().address)
    return max(1, CPU_COUNT // tasks_per_host.get(host, CPU_COUNT))
