"""The workers: threads or processes of this machine, or the workers of a dask scheduler."""

import logging
import os
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dask import config
from dask.system import CPU_COUNT
from distributed import Client, Nanny, Scheduler, SpecCluster, Worker, WorkerPlugin

from pipeline.errors import ExecutionError, SettingsError
from pipeline.execution.stage import ExecutionSettings

SECONDS_TO_CONNECT = 10
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": 1,
    "MKL_NUM_THREADS": 1,
    "OPENBLAS_NUM_THREADS": 1,
    "MALLOC_ARENA_MAX": 1,
    "MALLOC_MMAP_THRESHOLD_": 32 << 20,
    "MALLOC_TRIM_THRESHOLD_": 256 << 20,
}
"""Of worker processes. The last three make glibc keep up to 256 MiB of freed temporary arrays for
the next ones. Memory returned to the system must be faulted in again: 20 page faults per parsed
caption, a fifth of the time."""


@dataclass(frozen=True)
class Workers:
    """The workers of a run.

    Attributes:
        client: the connection to them.
        tasks: how many tasks they run at a time in total.
        tasks_per_host: the same for each host, whose tasks share its cores.
        resources: what each task needs of its worker.
    """

    client: Client
    tasks: int
    tasks_per_host: Mapping[str, int]
    resources: Mapping[str, float]


LITTLE_WATCHED = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
}
"""dask samples its threads and event loops up to 100 times per second for dashboard pages that are
not served here. These settings lower the idle load from 4 % of a core to 0.6 %."""


@contextmanager
def open_workers(execution: ExecutionSettings, num_tasks: int) -> Iterator[Workers]:
    """Start workers on this machine, at most one per task, or connect to those of a scheduler.

    Raises:
        ExecutionError: the scheduler does not answer, or has no workers.
        SettingsError: the workers do not have the requested GPUs.
    """
    with _quiet_logs():
        if execution.scheduler is not None:
            with _connect(execution.scheduler) as client:
                yield _checked(client, execution)
        else:
            with (
                config.set(
                    {"distributed.scheduler.allowed-failures": execution.retries} | LITTLE_WATCHED
                ),
                _local_cluster(execution, num_tasks) as cluster,
                Client(cluster, set_as_default=False) as client,
            ):
                if execution.processes:
                    client.register_plugin(IgnoreInterrupts())
                yield _checked(client, execution)


class IgnoreInterrupts(WorkerPlugin):
    """Ignore Ctrl-C in workers: it reaches every process of a terminal, the main one handles it."""

    name = "ignore-interrupts"

    def setup(self, worker: Worker) -> None:
        """Run in the worker's main thread when it starts."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class ThreadsWorker(Worker):
    """A worker in this process that closes without waiting 30 s for its threads.

    Threads still run only after an interrupt or an error, and stop at their next item.
    """

    async def close(self, *args: Any, **options: Any) -> str | None:
        """Close the worker."""
        return await super().close(*args, **options | {"executor_wait": False})


def _connect(address: str) -> Client:
    try:
        client = Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ExecutionError(
            f"no dask scheduler answers at {address} within {SECONDS_TO_CONNECT} s.\n"
            "Start one with `dask scheduler` and workers with `dask worker ADDRESS`, "
            "or leave --scheduler out to work on this machine."
        ) from error
    try:
        client.wait_for_workers(1, timeout=SECONDS_TO_CONNECT)
    except TimeoutError as error:
        client.close()
        raise ExecutionError(
            f"the scheduler at {address} has no workers. Start some: dask worker {address}"
        ) from error
    return client


def _local_cluster(execution: ExecutionSettings, num_tasks: int) -> SpecCluster:
    workers = min(execution.workers or execution.gpus or CPU_COUNT, num_tasks)
    # Results are counts: dask's own limit would only pause or kill workers with large models.
    options: dict[str, Any] = {"memory_limit": 0, "silence_logs": logging.CRITICAL}
    if execution.gpus:
        kind, place = Nanny, {"protocol": "tcp://", "host": "127.0.0.1"}
        specs = [
            {"nthreads": 1, "resources": {"GPU": 1}, "env": {"CUDA_VISIBLE_DEVICES": device}}
            for device in _gpus(execution.gpus)[:workers]
        ]
    elif execution.processes:
        kind, place = Nanny, {"protocol": "tcp://", "host": "127.0.0.1"}
        specs = [{"nthreads": 1}] * workers
    else:
        kind, place = ThreadsWorker, {"protocol": "inproc://"}
        specs = [{"nthreads": workers}]
    no_dashboard = {"dashboard": False, "dashboard_address": None}
    with config.set(
        {
            "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
            "distributed.worker.profile.enabled": False,  # samples the stack 100 times a second
        }
    ):
        return SpecCluster(
            scheduler={
                "cls": Scheduler,
                # Without an address its HTTP server binds port 8787, which may be in use.
                "options": place | no_dashboard | {"port": 0, "dashboard_address": "127.0.0.1:0"},
            },
            workers={
                i: {"cls": kind, "options": options | place | no_dashboard | spec}
                for i, spec in enumerate(specs)
            },
        )


def _gpus(wanted: int) -> list[str]:
    """Names of the first GPUs of this machine, as CUDA_VISIBLE_DEVICES has them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        devices = [device for device in visible.split(",") if device.strip()]
    else:
        import torch

        devices = [str(i) for i in range(torch.cuda.device_count())]
    if len(devices) < wanted:
        raise SettingsError(
            f"{wanted} workers with a GPU each were requested (--gpus), this machine has "
            f"{len(devices)} GPUs. Request fewer, or leave --gpus out to run on the CPU."
        )
    return devices[:wanted]


def _checked(client: Client, execution: ExecutionSettings) -> Workers:
    """The workers that can run the tasks; a task that no worker can run would never start."""
    offers = client.scheduler_info(n_workers=-1)["workers"].values()
    if not execution.gpus:
        tasks_per_host: Counter[str] = Counter()
        for worker in offers:
            tasks_per_host[worker["host"]] += worker["nthreads"]
        return Workers(client, tasks_per_host.total(), tasks_per_host, {})
    able = [worker for worker in offers if worker["resources"].get("GPU", 0) >= 1]
    if execution.scheduler and len(able) < execution.gpus:
        offered = "; ".join(
            f"{count} with {resources}"
            for resources, count in Counter(_resources(worker) for worker in offers).items()
        )
        raise SettingsError(
            f"{execution.gpus} workers with the resource GPU=1 were requested (--gpus), the "
            f"scheduler at {execution.scheduler} has {len(able)}; its workers are: {offered}.\n"
            "Start each with: CUDA_VISIBLE_DEVICES=N dask worker ADDRESS --nthreads 1 --resources "
            '"GPU=1"'
        )
    tasks_per_host = Counter(worker["host"] for worker in able)
    return Workers(client, len(able), tasks_per_host, {"GPU": 1})


def _resources(worker: Mapping[str, Any]) -> str:
    offered = ", ".join(f"{name}={amount:g}" for name, amount in worker["resources"].items())
    return offered or "no resources"


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """Silence dask's own log: what matters to the user is raised as an error."""
    loggers = [
        logging.getLogger(name)
        for name in ("distributed", *logging.Logger.manager.loggerDict)
        if name.split(".")[0] in ("distributed", "tornado")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with config.set({"logging": {"distributed": "critical"}}):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
