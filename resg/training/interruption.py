"""Ctrl-C in training: say what is saved and how to resume."""

import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from resg.errors import ResgError
from resg.training.checkpoint import last_checkpoint
from resg.training.distributed import Processes


class TrainingInterrupted(KeyboardInterrupt):
    """The user stopped training; the last checkpoint is kept. Its text says how to resume."""


@contextmanager
def interruptible(folder: Path, processes: Processes) -> Iterator[None]:
    """Raise Ctrl-C as `TrainingInterrupted`; a second one is ignored until the run is closed.

    Args:
        folder: of the run.
        processes: under torchrun Ctrl-C reaches all of them, and the first says what is saved.
    """
    was_stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal was_stopped
        was_stopped = True
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # torchrun sends its own after the terminal's
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    is_ours = (  # other threads cannot set handlers, and a handler of somebody else's stays
        threading.current_thread() is threading.main_thread()
        and before is signal.default_int_handler
    )
    if is_ours:
        signal.signal(signal.SIGINT, stop)
    try:
        yield
    except BaseException as error:
        # of several processes, one that is slower fails because the others are gone
        if was_stopped or isinstance(error, KeyboardInterrupt):
            text = _advice(folder, processes.count) if processes.is_first else ""
            raise TrainingInterrupted(text) from error
        raise
    finally:
        if is_ours and not (was_stopped and processes.count > 1):
            signal.signal(signal.SIGINT, before)


def _advice(folder: Path, num_processes: int) -> str:
    try:
        checkpoint = last_checkpoint(folder)
    except ResgError:
        return f"Stopped before the first step; nothing is saved. Delete {folder} and train again."
    launcher = f"torchrun --nproc-per-node {num_processes} -m " if num_processes > 1 else ""
    return (
        f"Stopped. The state of the last finished epoch is saved in {checkpoint}.\n"
        f"Resume with: {launcher}resg train --resume {shlex.quote(str(folder))}"
    )
