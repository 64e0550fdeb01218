"""Ctrl-C in training: say what is saved and how to resume."""

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

    is_main = threading.current_thread() is threading.main_thread()  # others cannot handle signals
    before = signal.signal(signal.SIGINT, stop) if is_main else None
    try:
        yield
    except BaseException as error:
        # of several processes, one that is slower fails because the others are gone
        if was_stopped or isinstance(error, KeyboardInterrupt):
            raise TrainingInterrupted(_advice(folder) if processes.is_first else "") from error
        raise
    finally:
        if is_main and not (was_stopped and processes.count > 1):
            signal.signal(signal.SIGINT, before)


def _advice(folder: Path) -> str:
    try:
        checkpoint = last_checkpoint(folder)
    except ResgError:
        return f"Stopped before the first step; nothing is saved. Delete {folder} and train again."
    return (
        f"Stopped. The state of the last finished epoch is saved in {checkpoint}.\n"
        f"Resume with: resg train --resume {folder}"
    )
