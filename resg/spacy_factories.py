"""The entry points by which spaCy finds the components of `pipeline.parsing`.

They stand here because importing `resg` says so when another `pipeline` hides the package; an entry
point in the hidden package itself could not.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "make_caption_sentences": "pipeline.parsing.sentences",
    "make_scene_graph": "pipeline.parsing.scene_graph.component",
    "make_stepwise_parser": "pipeline.parsing.inference",
    "make_word_lemmatizer": "pipeline.parsing.inference",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
