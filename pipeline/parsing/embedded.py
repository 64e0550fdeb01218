"""The model that ships with the package: where it is, and what identifies it, without spaCy.

thinc, below spaCy, imports PyTorch wherever it is installed. That takes a process 1.2 s and 250 MB,
for transformers alone, which the embedded model has none of.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pipeline.fingerprint import digest, file_digest

EMBEDDED = "embedded"
"""Name of the model that ships with the package, for `--model`."""

EMBEDDED_FOLDER = Path(__file__).with_name("model")
"""Folder of the pipeline that ships with the package, for `spacy.load`."""

LEARNED = "scene_graph"
SENTENCES = "caption_sentences"
PARSER = "parser"
"""Names of components."""

TRIPLES_VERSION = 4
"""Raised when the program makes other triples with the same model, so that shards of different
triples are not mixed."""


def import_spacy_alone() -> None:
    """Import spaCy without PyTorch, in a process that only parses with the embedded model.

    spaCy cannot load transformers in that process any more. Nothing happens if spaCy or PyTorch is
    imported already.
    """
    if "thinc" in sys.modules or "torch" in sys.modules:
        return
    sys.modules["torch"] = None  # pyright: ignore[reportArgumentType] - Python's way to hide one
    try:
        import thinc.compat  # noqa: F401
    finally:
        del sys.modules["torch"]


def embedded_fingerprint() -> dict[str, Any]:
    """What `model_fingerprint` says of the embedded model, read from its files."""
    meta = json.loads((EMBEDDED_FOLDER / "meta.json").read_text(encoding="utf-8"))
    components = list(meta["pipeline"])
    components.insert(components.index(PARSER), SENTENCES)
    return describe_model(meta, folder_digest(EMBEDDED_FOLDER), components)


def describe_model(meta: dict[str, Any], weights: str, components: list[str]) -> dict[str, Any]:
    """What identifies a model and the triples that this program makes with it."""
    return {
        "model": f"{meta['lang']}_{meta['name']}",
        "version": meta["version"],
        "digest": weights,
        "components": components,
        "triples": TRIPLES_VERSION,
    }


def folder_digest(folder: Path) -> str:
    """Digest of the files of a model but for its card."""
    found = (path for path in folder.rglob("*") if path.is_file())
    files = sorted(path for path in found if path.suffix != ".md")
    return digest([[str(path.relative_to(folder)), file_digest(path)] for path in files])
