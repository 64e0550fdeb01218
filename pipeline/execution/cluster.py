"""Who does the work: threads or processes of this machine, or the workers of a dask scheduler."""

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
"""Of worker processes. By the last three glibc keeps up to 256 MiB that temporary arrays have left
for the next ones. Given back to the system, their pages fault again: 20 times for each caption that
is parsed, a fifth of the time."""


@dataclass(frozen=True)
class Workers:
    """The workers of a run.

    Attributes:
        client: the connection to them.
        tasks: how many tasks they run at a time, all together.
        tasks_per_host: the same by host, as tasks of one host share its cores.
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
"""dask watches its threads and loops up to a hundred times a second, for pages that are not served
here: 4 % of a core while nothing is done, 0.6 % so."""


@contextmanager
def open_workers(execution: ExecutionSettings, num_tasks: int) -> Iterator[Workers]:
    """Start workers here, no more than there are tasks, or connect to those of a scheduler.

    Raises:
        ExecutionError: no scheduler answers, or it has no workers.
        SettingsError: the workers do not offer the GPUs that are asked for.
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
                if execution.processes or execution.gpus:
                    client.register_plugin(IgnoreInterrupts())
                yield _checked(client, execution)


class IgnoreInterrupts(WorkerPlugin):
    """Ctrl-C reaches all processes of a terminal; the one that started the run acts on it."""

    name = "ignore-interrupts"

    def setup(self, worker: Worker) -> None:
        """Run in the worker's main thread when it starts."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class ThreadsWorker(Worker):
    """A worker of this process that does not wait half a minute for its threads when it is closed.

    There are none but after an interrupt or an error, and those stop at their next item.
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
            "distributed.worker.profile.enabled": False,  # it looks at the stack 100 times a second
        }
    ):
        return SpecCluster(
            scheduler={
                "cls": Scheduler,
                # Without an address its HTTP server asks for port 8787, which may be taken.
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
            f"{wanted} workers with a GPU each were asked for (--gpus), this machine offers "
            f"{len(devices)} GPUs. Ask for fewer, or leave --gpus out to work on the CPU."
        )
    return devices[:wanted]


def _checked(client: Client, execution: ExecutionSettings) -> Workers:
    """The workers that can run the tasks; a task that no worker can run would wait for ever."""
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
            f"{execution.gpus} workers with the resource GPU=1 were asked for (--gpus), the "
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
    """Keep dask's own messages off the screen: what matters of them comes back as an error."""
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
