"""Image-text matching through two semantic graphs: of image regions and of caption words.

The public names; all else is private by convention. They are imported when they are first used,
so `import resg` does not start PyTorch.

- `load(run)` gives a `Run`: `encode_images`, `encode_captions`, `similarity`.
- `Index(path)` opens an index of pictures, `Index.build` makes one: `search`.
- `rank(scores)` orders candidates from best to worst.
- `evaluate_scores(scores, image_of_caption)` gives Recall@K of a score matrix, as an `Evaluation`.
- `Encoded` is what a `Run` encodes, `ResgError` the base of its errors.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from resg.shadowing import refuse_shadowed_pipeline

if TYPE_CHECKING:
    from resg.errors import ResgError
    from resg.evaluation.protocols import Evaluation, evaluate_scores
    from resg.evaluation.ranking import rank
    from resg.models.encoded import Encoded
    from resg.run import Run, load
    from resg.search.index import Index

    __version__: str

refuse_shadowed_pipeline()

__all__ = [
    "Encoded",
    "Evaluation",
    "Index",
    "ResgError",
    "Run",
    "__version__",
    "evaluate_scores",
    "load",
    "rank",
]

_MODULES = {
    "Encoded": "resg.models.encoded",
    "Evaluation": "resg.evaluation.protocols",
    "Index": "resg.search.index",
    "ResgError": "resg.errors",
    "Run": "resg.run",
    "evaluate_scores": "resg.evaluation.protocols",
    "load": "resg.run",
    "rank": "resg.evaluation.ranking",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("resg")
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'resg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
