"""Run a stage: plan its shards, skip the finished ones, make the others, report the result."""

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import DataError, ExecutionError, InterruptedRunError
from pipeline.execution.plan import (
    FinishedShard,
    ShardJob,
    finished_shards,
    plan_shards,
    prepare_folder,
    read_finished,
    run_fingerprint,
)
from pipeline.execution.progress import Extent, open_listeners
from pipeline.execution.stage import NOUNS, ExecutionSettings, Item, Stage, StageReport
from pipeline.execution.task import ShardOutcome, TaskSettings, run_shard, stopped_runs
from pipeline.fingerprint import as_json

if TYPE_CHECKING:
    from pipeline.execution.cluster import Workers

TASKS_AHEAD = 2
"""Tasks submitted per running task: enough to keep every worker busy."""


def run_stage(
    stage: Stage, items: Iterable[Item], out: Path, execution: ExecutionSettings
) -> StageReport:
    """Turn items into a folder of shards; resume where an earlier run of the same stage stopped.

    Each shard is one task, and its worker writes it. Equal stages and items give equal shards,
    whatever the workers are.

    Args:
        stage: processes the items.
        items: the input; ids are unique.
        out: the folder of shards.
        execution: how to run it.

    Returns:
        Counts and failures of all shards in the folder.

    Raises:
        DataError: there are no items, an id is repeated, the folder has shards of another run, or
            all items failed, or one did and `on_error` is `stop`.
        ExecutionError: there are no workers, a worker keeps dying, or a shard cannot be written.
        InterruptedRunError: Ctrl-C was pressed; finished shards are kept.
    """
    start = time.monotonic()
    out = out.resolve()  # workers may have another working folder
    jobs = plan_shards(items, out, stage.kind, execution.shard_size)
    shared = TaskSettings(
        run=uuid.uuid4().hex[:8],  # a scheduler may serve several runs
        settings=as_json(stage.settings),
        fingerprint=as_json(run_fingerprint(stage, jobs, execution.shard_size)),
        on_error=execution.on_error,
    )
    prepare_folder(out, stage.kind, overwrite=execution.overwrite)
    finished = finished_shards(out, stage.kind, jobs, shared.settings, shared.fingerprint)
    due = _due(jobs, finished, execution.retry_failed)
    kept = len(jobs) - len(due)
    worked = _make(stage, due, shared, execution, finished) if due else 0
    report = StageReport(
        stage=stage.name,
        kind=stage.kind,
        out=out,
        shards=len(jobs),
        shards_kept=kept,
        records=sum(finished[job.path].records for job in jobs),
        worked=worked,
        failures={id: reason for job in jobs for id, reason in finished[job.path].failures.items()},
        seconds=time.monotonic() - start,
    )
    if not report.records:
        first, reason = next(iter(report.failures.items()))
        raise DataError(
            f"all {len(report.failures):,} {NOUNS[stage.kind]} failed, the first is {first}: "
            f"{reason}.\nAfter fixing them, run again with --retry-failed."
        )
    return report


def _due(
    jobs: Sequence[ShardJob], finished: Mapping[Path, FinishedShard], retry_failed: bool
) -> list[ShardJob]:
    due = []
    for job in jobs:
        if job.path not in finished:
            due.append(job)
        elif retry_failed and finished[job.path].failures:
            due.append(replace(job, is_retry=True))
    return due


def _make(
    stage: Stage,
    jobs: Sequence[ShardJob],
    shared: TaskSettings,
    execution: ExecutionSettings,
    finished: dict[Path, FinishedShard],
) -> int:
    """Make the shards of the jobs, add them to `finished`; returns the number of items."""
    due = sum(len(finished[job.path].failures) if job.is_retry else len(job.items) for job in jobs)
    extent = Extent(stage.name, NOUNS[stage.kind], len(jobs), due)
    execution = execution.decided(len(jobs), due)
    worked = made = 0
    try:
        with (
            open_listeners(execution, extent) as listeners,
            _running(stage, jobs, shared, execution) as outcomes,
            _stopping(shared.run),
        ):
            for job, outcome in outcomes:
                _check(stage, job, outcome, made)
                finished[job.path] = _read_back(job)
                made += 1
                worked += outcome.worked
                for listener in listeners:
                    listener.shard_made(job, outcome)
    except KeyboardInterrupt as error:
        raise InterruptedRunError(
            f"interrupted: {made:,} of {len(jobs):,} shards were made in {jobs[0].path.parent} "
            "and are kept.\nRun the same command again to make the others."
        ) from error
    return worked


@contextmanager
def _stopping(run: str) -> Iterator[None]:
    """When the run ends early, stop those of its threads that run in this process."""
    try:
        yield
    except BaseException:
        stopped_runs.add(run)
        raise


@contextmanager
def _running(
    stage: Stage, jobs: Sequence[ShardJob], shared: TaskSettings, execution: ExecutionSettings
) -> Iterator[Iterator[tuple[ShardJob, ShardOutcome]]]:
    """Each job with its outcome; what needs no other process is run in this one."""
    is_alone = len(jobs) == 1 and not (execution.scheduler or execution.processes)
    if is_alone or execution.runs_here:
        yield ((job, _outcome_here(stage, job, shared, execution.retries)) for job in jobs)
        return
    from pipeline.execution.cluster import open_workers  # dask takes a second to import

    with open_workers(execution, len(jobs)) as workers:
        yield _outcomes(stage, jobs, shared, workers, execution.retries)


def _outcome_here(stage: Stage, job: ShardJob, shared: TaskSettings, retries: int) -> ShardOutcome:
    for attempt in range(retries + 1):
        try:
            return run_shard(stage, job, shared)
        except Exception as error:
            if attempt == retries:
                raise _not_made(job, error, retries) from error
    raise AssertionError("the last attempt returns or raises")


def _outcomes(
    stage: Stage, jobs: Sequence[ShardJob], shared: TaskSettings, workers: "Workers", retries: int
) -> Iterator[tuple[ShardJob, ShardOutcome]]:
    """Each job with its outcome, in the order of completion.

    Only a few tasks are submitted ahead, so memory does not grow with their number.
    """
    from distributed import as_completed

    shared = replace(shared, tasks_per_host=workers.tasks_per_host)
    running: dict[str, ShardJob] = {}
    done = as_completed(loop=workers.client.loop)
    waiting = iter(jobs)

    def submit() -> None:
        for job in islice(waiting, workers.tasks * TASKS_AHEAD - len(running)):
            key = f"{stage.name}-{job.path.stem}-{shared.run}"
            running[key] = job
            done.add(
                workers.client.submit(
                    run_shard,
                    stage,
                    job,
                    shared,
                    key=key,
                    retries=retries,
                    resources=workers.resources,
                    pure=False,
                )
            )

    submit()
    for future in done:
        job = running.pop(future.key)
        yield job, _result(future, job, retries)
        submit()


def _result(future: Any, job: ShardJob, retries: int) -> ShardOutcome:
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise ExecutionError(
            f"{_named(job)}: the worker died {error.allowed_failures + 1} times, "
            f"the last was {error.last_worker.address}.\n"
            "A common cause is a lack of memory: try fewer --workers or a smaller --shard-size."
        ) from error
    except CancelledError as error:
        raise ExecutionError(
            f"{job.path.name}: the scheduler cancelled the task; is it still running? "
            "Run the same command again to make the missing shards."
        ) from error
    except Exception as error:
        raise _not_made(job, error, retries) from error


def _named(job: ShardJob) -> str:
    return f"{job.path.name} ({job.items[0].id} to {job.items[-1].id})"


def _not_made(job: ShardJob, error: Exception, retries: int) -> ExecutionError:
    advice = ""
    if isinstance(error, ImportError):
        advice = "\nWorkers of a cluster need the same packages as this machine."
    return ExecutionError(
        f"{_named(job)} could not be made in {retries + 1} attempts: "
        f"{type(error).__name__}: {error}.{advice}"
    )


def _check(stage: Stage, job: ShardJob, outcome: ShardOutcome, made: int) -> None:
    """Raise a worker's error: a failed item that ends the run, or a shard that cannot be made."""
    resume = f"{made:,} shards were made; run the same command again to make the others."
    if outcome.stopped_by is not None:
        failure = outcome.stopped_by
        raise DataError(
            f"{failure.id}: {failure.reason}.\n"
            f"Fix or remove it, or skip such {NOUNS[stage.kind]} with --on-error skip. "
            f"{resume}"
        )
    if outcome.fault is not None:
        error = ExecutionError(f"{outcome.fault}\n{resume}")
        error.exit_code = outcome.exit_code
        raise error


def _read_back(job: ShardJob) -> FinishedShard:
    try:
        return read_finished(job)
    except DataError as error:
        raise ExecutionError(
            f"a worker reported that it wrote {job.path}, but this machine cannot see that file.\n"
            "Use an --out on a file system that this machine and all workers share."
        ) from error
