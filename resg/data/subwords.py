"""Words to the pieces of a Hugging Face tokeniser, keeping which piece belongs to which word."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resg.errors import ResgError
from resg.graphs.ragged import offsets


@dataclass(frozen=True)
class Pieces:
    """Pieces of many captions.

    Attributes:
        numbers: `[P]` piece numbers.
        word: `[P]` place of each piece's word in its caption, -1 for special pieces.
        ptr: `[C+1]` offsets of the captions' pieces.
    """

    numbers: Tensor
    word: Tensor
    ptr: Tensor


class PieceTokeniser:
    """The tokeniser of a Hugging Face encoder.

    Args:
        name: name or folder of the model.

    Raises:
        ResgError: transformers is not installed, or there is no such tokeniser.
    """

    def __init__(self, name: str) -> None:
        try:
            self.tokeniser: Any = import_transformers().AutoTokenizer.from_pretrained(name)
        except OSError as error:
            raise ResgError(
                f"expected a Hugging Face tokeniser under {name!r}, got: {error}. "
                "Give a folder that holds it: --set model.text.encoder=bert:FOLDER."
            ) from error

    def split(self, captions: Sequence[tuple[str, ...]]) -> Pieces:
        """Pieces of captions given as words; special pieces are added as the model expects."""
        encoded = self.tokeniser(
            [list(forms) for forms in captions], is_split_into_words=True, truncation=True
        )
        word = [
            -1 if word is None else word
            for row in range(len(captions))
            for word in encoded.word_ids(row)
        ]
        counts = [len(ids) for ids in encoded["input_ids"]]
        numbers = [number for ids in encoded["input_ids"] for number in ids]
        return Pieces(torch.tensor(numbers), torch.tensor(word), offsets(torch.tensor(counts)))


def keep_encoder(name: str, folder: Path) -> None:
    """Store what a Hugging Face encoder is made of, its weights apart, and its tokeniser.

    Args:
        name: name or folder of the model.
        folder: is made; afterwards it serves as a name.
    """
    transformers = import_transformers()
    transformers.AutoConfig.from_pretrained(name).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(name).save_pretrained(folder)


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
