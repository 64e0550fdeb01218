"""Find, load and identify the spaCy model that parses the captions."""

import gc
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.pipeline import DependencyParser, Tok2Vec
from spacy.tokens import Doc
from thinc.api import Model, NumpyOps

from pipeline.errors import DataError, SettingsError
from pipeline.fingerprint import digest
from pipeline.manifests.caption_text import clean_text, fault_of
from pipeline.parsing.embedded import (
    EMBEDDED,
    EMBEDDED_FOLDER,
    LEARNED,
    SENTENCES,
    describe_model,
    folder_digest,
)

STOCK_MODEL = "en_core_web_sm"

BATCH = 256
"""Captions per batch."""

_UNUSED = ("ner", "senter", "entity_linker", "entity_ruler", "spancat", "textcat")
_NEEDED = {"DEP": "parser", "POS": "tagger (with attribute_ruler) or morphologizer"}


def load_parser(model: str = EMBEDDED) -> Language:
    """The pipeline that turns captions into arcs and triples.

    It ends in `scene_graph`: the model's own, else the embedded model's, which reads arcs of both
    schemes of labels, ClearNLP and Universal Dependencies. The model that ships with the package is
    the default even where another is installed, so that the same captions give the same triples on
    every machine.

    Args:
        model: name of an installed package, `embedded`, or folder of a spaCy pipeline.

    Raises:
        SettingsError: there is no such model, or it cannot be loaded.
        DataError: it lacks a component that is needed.
    """
    from pipeline.parsing.inference import keep_word_vectors

    source = _source(model)
    try:
        nlp = spacy.load(source, exclude=_UNUSED)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SettingsError(f"the model {model} cannot be loaded: {reason}\n{_advice()}") from error
    _use_numpy_products(nlp)
    for _, component in nlp.pipeline:
        if isinstance(component, Tok2Vec):
            keep_word_vectors(component.model)
    _check(nlp, model)
    parsers = [name for name, part in nlp.pipeline if isinstance(part, DependencyParser)]
    if parsers and SENTENCES not in nlp.pipe_names:
        nlp.add_pipe(SENTENCES, before=parsers[0])
    if LEARNED not in nlp.pipe_names:
        nlp.add_pipe(LEARNED)
    return nlp


@lru_cache(maxsize=2)
def cached_parser(model: str) -> Language:
    """`load_parser`, once per process.

    All objects in memory are then frozen for the garbage collector: scanning them again and again
    would take a sixth of the parsing time.
    """
    is_collecting = gc.isenabled()
    gc.disable()  # while many lasting objects are made
    try:
        nlp = load_parser(model)
        gc.freeze()
    finally:
        if is_collecting:
            gc.enable()
    return nlp


def model_fingerprint(nlp: Language) -> dict[str, Any]:
    """What identifies a model: its name, the digest of its files, and its components."""
    weights = digest(nlp.to_bytes().hex()) if nlp.path is None else folder_digest(Path(nlp.path))
    return describe_model(nlp.meta, weights, list(nlp.pipe_names))


def parse_texts(nlp: Language, texts: Iterable[str]) -> Iterator[Doc]:
    """Clean and parse texts in batches, in order."""
    return nlp.pipe((clean_text(text) for text in texts), batch_size=BATCH)


def parse_caption(text: str, model: str = EMBEDDED) -> Doc:
    """Parse one caption, with a model that stays loaded.

    Raises:
        DataError: the text has nothing to parse, or the model lacks a component that is needed.
        SettingsError: there is no such model, or it cannot be loaded.
    """
    cleaned = clean_text(text)
    fault = fault_of(cleaned)
    if fault:
        raise DataError(f"{fault}. Give a caption in English, such as 'a man riding a horse'.")
    return cached_parser(model)(cleaned)


def _source(name: str) -> str | Path:
    if name == EMBEDDED and EMBEDDED_FOLDER.is_dir():
        return EMBEDDED_FOLDER
    if spacy.util.is_package(name):
        return name
    folder = Path(name)
    if (folder / "config.cfg").is_file():
        return folder
    if folder.is_dir():
        raise SettingsError(f"{name} is not a spaCy model: it has no config.cfg.\n{_advice()}")
    raise SettingsError(f"there is no model {name!r}. {_advice()}")


def _advice() -> str:
    """The installed models, and how to get one."""
    installed = spacy.util.get_installed_models()
    if EMBEDDED_FOLDER.is_dir():
        installed = [f"{EMBEDDED} (ships with the package)", *installed]
    return (
        f"Installed: {', '.join(installed) or 'none'}. Get one with: "
        f"python -m spacy download {STOCK_MODEL}, or give the folder of a spaCy pipeline."
    )


def _use_numpy_products(nlp: Language) -> None:
    """Let thinc multiply matrices with NumPy: 76 GFLOP/s on one core, 24 with its own BLIS."""
    for _, component in nlp.pipeline:
        model = getattr(component, "model", None)
        if isinstance(model, Model):
            for node in model.walk():
                if isinstance(node.ops, NumpyOps):
                    node.ops.use_blis = False  # pyright: ignore[reportAttributeAccessIssue]


def _check(nlp: Language, name: str) -> None:
    """Check that the model sets the annotations that triples need.

    Raises:
        DataError: it does not; the message names the missing component.
    """
    if nlp.lang != "en":
        raise DataError(f"the model {name} is for {nlp.lang!r}; captions are parsed in English.")
    probe = nlp("a dog on a bench")
    for attribute, component in _NEEDED.items():
        if not probe.has_annotation(attribute):
            raise DataError(
                f"the model {name} lacks a component: {component}. It has "
                f"{', '.join(nlp.pipe_names) or 'none'}.\nUse a model with a parser and a tagger, "
                f"such as {STOCK_MODEL}."
            )
