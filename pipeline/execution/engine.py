"""Run a stage: plan its shards, leave out those that are whole, make the others, say what came."""

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
"""Tasks that the scheduler holds for each that runs: enough that no worker waits."""


def run_stage(
    stage: Stage, items: Iterable[Item], out: Path, execution: ExecutionSettings
) -> StageReport:
    """Turn items into a folder of shards; go on where an earlier run of the same stage stopped.

    Each shard is one task and is written by its worker. Equal stages and items give equal shards,
    whoever the workers are.

    Args:
        stage: what is done.
        items: what it is done to; ids are unique.
        out: the folder of shards.
        execution: how it is done.

    Returns:
        What is in the folder.

    Raises:
        DataError: there are no items, an id comes twice, the folder is another run's, or an item
            is bad and `on_error` is `stop`.
        ExecutionError: no workers, a worker died again and again, or a shard could not be written.
        InterruptedRunError: Ctrl-C; whole shards stay.
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
    return StageReport(
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
    """Make the shards of the jobs and enter them into `finished`; how many items were worked on."""
    from pipeline.execution.cluster import open_workers  # dask takes a second to import

    due = sum(len(finished[job.path].failures) if job.is_retry else len(job.items) for job in jobs)
    extent = Extent(stage.name, NOUNS[stage.kind], len(jobs), due)
    worked = made = 0
    try:
        with (
            open_listeners(execution, extent) as listeners,
            open_workers(execution, len(jobs)) as workers,
            _stopping(shared.run),
        ):
            for job, outcome in _outcomes(stage, jobs, shared, workers, execution.retries):
                _check(stage, job, outcome, made)
                finished[job.path] = _read_back(job)
                made += 1
                worked += outcome.worked
                for listener in listeners:
                    listener.shard_made(job, outcome)
    except KeyboardInterrupt as error:
        raise InterruptedRunError(
            f"interrupted: {made:,} of {len(jobs):,} shards were made in {jobs[0].path.parent}, "
            "all of them whole.\nThe same command goes on with the others."
        ) from error
    return worked


@contextmanager
def _stopping(run: str) -> Iterator[None]:
    """When the run ends early, tell those of its threads that are in this process."""
    try:
        yield
    except BaseException:
        stopped_runs.add(run)
        raise


def _outcomes(
    stage: Stage, jobs: Sequence[ShardJob], shared: TaskSettings, workers: "Workers", retries: int
) -> Iterator[tuple[ShardJob, ShardOutcome]]:
    """What came of each job, in whatever order they get done.

    Few tasks are submitted ahead, so that memory does not grow with their number.
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

    named = f"{job.path.name} ({job.items[0].id} to {job.items[-1].id})"
    try:
        return future.result()
    except KilledWorker as error:
        raise ExecutionError(
            f"{named}: the worker died {error.allowed_failures + 1} times, "
            f"the last was {error.last_worker.address}.\n"
            "Often memory is short: try fewer --workers, or a smaller --shard-size."
        ) from error
    except CancelledError as error:
        raise ExecutionError(
            f"{job.path.name}: the scheduler gave the work up; is it still there? "
            "The same command goes on with the shards that are missing."
        ) from error
    except Exception as error:
        advice = ""
        if isinstance(error, ImportError):
            advice = "\nWorkers of a cluster need the same packages as this machine."
        raise ExecutionError(
            f"{named} could not be made in {retries + 1} attempts: "
            f"{type(error).__name__}: {error}.{advice}"
        ) from error


def _check(stage: Stage, job: ShardJob, outcome: ShardOutcome, made: int) -> None:
    """Raise what the worker could not: a bad item that ends the run, or a shard that cannot be."""
    goes_on = f"{made:,} shards were made; the same command goes on with the others."
    if outcome.stopped_by is not None:
        failure = outcome.stopped_by
        raise DataError(
            f"{failure.id}: {failure.reason}.\n"
            f"Mend or remove it, or leave such {NOUNS[stage.kind]} out with --on-error skip. "
            f"{goes_on}"
        )
    if outcome.fault is not None:
        error = ExecutionError(f"{outcome.fault}\n{goes_on}")
        error.exit_code = outcome.exit_code
        raise error


def _read_back(job: ShardJob) -> FinishedShard:
    try:
        return read_finished(job)
    except DataError as error:
        raise ExecutionError(
            f"a worker says that it wrote {job.path}, but it is not to be seen from here.\n"
            "Name an --out on a file system that this machine and all workers share."
        ) from error
