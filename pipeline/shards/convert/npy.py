"""Read the header of an .npy array, without touching a pickle."""

from pathlib import Path
from typing import IO

import numpy as np

from pipeline.errors import PipelineError


class UntrustedPickleError(PipelineError):
    """An array is a pickle, which the user has not allowed.

    This is not the fault of one image, so it ends the import even if faulty images are skipped.
    """


def array_dtype(stream: IO[bytes]) -> np.dtype:
    """The type of the .npy array at the start of a stream.

    Raises:
        ValueError: it is not an .npy array.
    """
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)[2]
    return np.lib.format.read_array_header_2_0(stream)[2]


def refuse_pickle(path: Path, what: str, trust_pickle: bool) -> None:
    """Refuse a pickled array unless the user trusts it.

    Raises:
        UntrustedPickleError: `trust_pickle` is False.
    """
    if not trust_pickle:
        raise UntrustedPickleError(
            f"{path}: {what} is pickled, and a pickle can run any code when it is loaded.\n"
            "If you trust whoever made the file, pass --trust-pickle."
        )
