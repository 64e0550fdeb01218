"""Hugging Face models and tokenisers: from the disk, else from the hub if it can be reached."""

import threading
from pathlib import Path
from typing import Any

from resg.errors import ResgError

HUB_SECONDS = 1.5


def load_pretrained(kind: str, name: str) -> Any:
    """What `transformers` has under a name.

    A folder and what is in the hub's cache are read without the network. Otherwise the hub is asked
    for the name once before anything is downloaded, because `transformers` retries for minutes.

    Args:
        kind: `AutoModel`, `AutoTokenizer` or `AutoConfig`.
        name: a folder, or a name on the hub.

    Raises:
        ResgError: transformers is not installed, or there is no such model within reach.
    """
    loader = getattr(import_transformers(), kind)
    try:
        return loader.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError) as error:
        folder = Path(name)
        if folder.is_dir() or folder.is_absolute() or name.startswith("."):
            told = _first_line(error) if folder.is_dir() else "there is no such folder"
            raise ResgError(
                f"expected a Hugging Face encoder in the folder {name}: {told}\n{_ADVICE}"
            ) from error
    check_hub(name)
    try:
        return loader.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ResgError(
            f"expected a Hugging Face encoder under {name!r}, got: {_first_line(error)}\n{_ADVICE}"
        ) from error


def check_hub(name: str) -> None:
    """Ask the hub once whether it has a model.

    Raises:
        ResgError: it does not, or does not answer in time.
    """
    from huggingface_hub import HfApi

    failures: list[str] = ["no answer"]

    def ask() -> None:
        try:
            HfApi().model_info(name, timeout=HUB_SECONDS)
            failures.clear()
        except Exception as error:  # whatever it is, the user needs the model from elsewhere
            failures[0] = _first_line(error)

    asking = threading.Thread(target=ask, daemon=True)  # looking up the host has no time limit
    asking.start()
    asking.join(HUB_SECONDS)
    if failures:
        raise ResgError(
            f"expected the Hugging Face encoder {name!r} on this disk or on the hub; it is in no "
            f"folder of that name and not in the hub's cache, and the hub says: {failures[0]}\n"
            f"{_ADVICE}"
        )


_ADVICE = (
    "Give a folder that holds its files (config.json, model.safetensors, tokenizer.json): "
    "--set model.text.encoder=bert:FOLDER. Where there is a network, "
    "`hf download NAME --local-dir FOLDER` makes one."
)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


def import_transformers() -> Any:
    """The package, or the error that names the extra."""
    try:
        import transformers
    except ImportError as error:
        raise ResgError(
            "a bert encoder needs transformers, which is not installed. "
            "Install it with: pip install 'resg[bert]'."
        ) from error
    return transformers
