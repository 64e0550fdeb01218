"""Which backend runs? By argument, by RESG_KERNELS, else by device and what is installed."""

from importlib.util import find_spec

import torch

from resg.kernels.dispatch import ENVIRONMENT, HAS_TRITON, is_interpreting, named_backend

BACKENDS = ("reference", "scatter", "torch", "triton")
TRITON_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
TRITON_MAX_WIDTH = 256


@torch.compiler.assume_constant_result
def choose_backend(asked: str, device_type: str, dtype: torch.dtype, width: int) -> str:
    """The name of the backend that will run.

    Args:
        asked: the caller's argument, a name of `BACKENDS` or `auto`. `auto` asks the environment
            variable RESG_KERNELS, and then takes `triton` on a GPU for dtypes and head widths that
            it has, and `torch` elsewhere (see docs/benchmarks.md for the measurement).
        device_type: of the inputs, as in `torch.device.type`.
        dtype: of q, k and v.
        width: d, of a head.

    Raises:
        ValueError: no such backend, or it cannot run here.
    """
    named = named_backend(asked)
    obstacle = _triton_obstacle(device_type, dtype, width)
    if named == "auto":
        return "torch" if obstacle else "triton"
    if named not in BACKENDS:
        raise ValueError(
            f"there is no backend {named!r}; choose auto, {', '.join(BACKENDS)} "
            f"(argument backend, or environment variable {ENVIRONMENT})."
        )
    if named == "triton" and obstacle:
        raise ValueError(f"backend triton cannot run: {obstacle}. Use backend='auto'.")
    if named == "scatter" and find_spec("torch_scatter") is None:
        raise ValueError(
            "backend scatter needs torch-scatter: pip install --no-build-isolation "
            "'resg[scatter]'. Or use backend='torch'."
        )
    return named


def _triton_obstacle(device_type: str, dtype: torch.dtype, width: int) -> str | None:
    if not HAS_TRITON:
        return "the package triton is not installed"
    if device_type != "cuda" and not is_interpreting():
        return f"the inputs are on {device_type}, it needs a GPU (or TRITON_INTERPRET=1)"
    if dtype not in TRITON_DTYPES:
        return f"it has no {dtype}"
    if width > TRITON_MAX_WIDTH:
        return f"its heads are at most {TRITON_MAX_WIDTH} wide, these are {width}"
    return None
