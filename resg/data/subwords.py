"""Words to the subwords of a Hugging Face tokeniser, and which subword belongs to which word."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resg.data.pretrained import load_pretrained
from resg.graphs.ragged import offsets


@dataclass(frozen=True)
class Subwords:
    """Subwords of many captions.

    Attributes:
        ids: `[P]` token ids.
        word: `[P]` index of each subword's word in its caption, -1 for special tokens.
        ptr: `[C+1]` offsets of the captions' subwords.
    """

    ids: Tensor
    word: Tensor
    ptr: Tensor


class SubwordTokeniser:
    """The tokeniser of a Hugging Face encoder.

    Args:
        name: name or folder of the model.

    Raises:
        ResgError: transformers is not installed, or there is no such tokeniser.
    """

    def __init__(self, name: str) -> None:
        self.tokeniser: Any = load_pretrained("AutoTokenizer", name)

    def split(self, captions: Sequence[tuple[str, ...]]) -> Subwords:
        """Subwords of captions given as words; special tokens are added as the model expects."""
        encoded = self.tokeniser(
            [list(forms) for forms in captions], is_split_into_words=True, truncation=True
        )
        word = [
            -1 if word is None else word
            for row in range(len(captions))
            for word in encoded.word_ids(row)
        ]
        counts = [len(caption) for caption in encoded["input_ids"]]
        ids = [token for caption in encoded["input_ids"] for token in caption]
        return Subwords(torch.tensor(ids), torch.tensor(word), offsets(torch.tensor(counts)))


def make_tokeniser(encoder: str) -> SubwordTokeniser | None:
    """The tokeniser of a text encoder, as `model.text.encoder` names it; None for the GRU."""
    return None if encoder == "gru" else SubwordTokeniser(encoder.removeprefix("bert:"))


def save_encoder_config(name: str, folder: Path) -> None:
    """Save the configuration of a Hugging Face encoder, without weights, and its tokeniser.

    Args:
        name: name or folder of the model.
        folder: is created; from then on it can be given as the name.
    """
    for kind in ("AutoConfig", "AutoTokenizer"):
        load_pretrained(kind, name).save_pretrained(folder)
