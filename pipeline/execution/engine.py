"""Run a stage: plan its shards, leave out those that are whole, make the others, say what came."""

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import ExecutionError, InterruptedRunError, PipelineError
from pipeline.execution.plan import (
    FinishedShard,
    ShardJob,
    finished_shards,
    plan_shards,
    prepare_folder,
    read_finished,
    run_fingerprint,
)
from pipeline.execution.progress import Extent, Listener, open_listeners
from pipeline.execution.stage import NOUNS, ExecutionSettings, Item, Stage, StageReport
from pipeline.execution.task import ShardOutcome, TaskSettings, run_shard
from pipeline.fingerprint import as_json

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
    settings = as_json(stage.settings)
    fingerprint = as_json(run_fingerprint(stage, jobs, execution.shard_size))
    prepare_folder(out, stage.kind, overwrite=execution.overwrite)
    finished = finished_shards(out, stage.kind, jobs, settings, fingerprint)
    due = _due(jobs, finished, execution.retry_failed)
    kept = {job.path for job in jobs} - {job.path for job in due}
    worked = 0
    if due:
        shared = TaskSettings(settings, fingerprint, execution.on_error, tasks_per_host={})
        for job, outcome in _make(stage, due, len(kept), shared, execution):
            worked += outcome.worked
            finished[job.path] = read_finished(job)
    return StageReport(
        stage=stage.name,
        kind=stage.kind,
        out=out,
        shards=len(jobs),
        shards_kept=len(kept),
        records=sum(finished[job.path].records for job in jobs),
        worked=worked,
        failures={
            id: reason for job in jobs for id, reason in finished[job.path].failures.items()
        },
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
    num_kept: int,
    shared: TaskSettings,
    execution: ExecutionSettings,
) -> Iterator[tuple[ShardJob, ShardOutcome]]:
    """Make the shards of the jobs, in whatever order they get done."""
    from pipeline.execution.cluster import open_workers  # dask takes a second to import

    extent = Extent(stage.name, NOUNS[stage.kind], len(jobs), sum(len(j.items) for j in jobs))
    done = num_kept
    try:
        with (
            open_workers(execution, len(jobs)) as workers,
            open_listeners(execution, extent) as listeners,
        ):
            shared = replace(shared, tasks_per_host=workers.tasks_per_host)
            for job, outcome in _outcomes(stage, jobs, shared, workers, execution.retries):
                _check(job, outcome, stage, done)
                done += 1
                _tell(listeners, job, outcome)
                yield job, outcome
    except KeyboardInterrupt as error:
        raise InterruptedRunError(
            f"interrupted: {done:,} of {num_kept + len(jobs):,} shards are whole in "
            f"{jobs[0].path.parent}. The same command goes on with the others."
        ) from error
