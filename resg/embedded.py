"""Runs that come with the package, by name."""

from pathlib import Path

EMBEDDED = {"photos": Path(__file__).parent / "models" / "photos"}


def find_run(name: str | Path) -> Path:
    """The folder of a run, given by its path or, of an embedded one, by its name."""
    path = Path(name)
    return path if path.exists() else EMBEDDED.get(str(name), path)
