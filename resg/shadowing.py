"""Is the package `pipeline` the one that was installed with `resg`, or does another hide it?"""

from importlib.util import find_spec
from pathlib import Path


def refuse_shadowed_pipeline() -> None:
    """Check, without importing it, that `pipeline` is this project's and no file beside a notebook.

    Raises:
        ImportError: another file or folder of that name comes before it on `sys.path`.
    """
    spec = find_spec("pipeline")
    if spec is None:
        raise ImportError("resg needs the package pipeline beside it: install resg again.")
    if any((Path(folder) / "shards").is_dir() for folder in spec.submodule_search_locations or ()):
        return
    raise ImportError(
        f"resg needs its package pipeline, but {spec.origin} comes before it on sys.path and "
        "hides it. Rename that file or folder, or start Python elsewhere.",
        name="pipeline",
        path=spec.origin,
    )
