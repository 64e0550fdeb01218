"""Batches: what the data gives and the models read.

I images, C captions, B pairs, R regions and W words of a batch, D feature width.
"""

from dataclasses import dataclass

from torch import Tensor

from resg.graphs.ragged import Layout
from resg.graphs.visual import Edges


@dataclass(frozen=True)
class ImageBatch:
    """Images of a batch.

    Attributes:
        features: `[R, D]` as stored.
        layout: which regions belong to which image.
        boxes: `[R, 4]` corners in pixels, or None where the shards have none.
        sizes: `[I, 2]` height and width in pixels, or None.
        relations: `[P, 4]` image, subject, predicate, object, or None.
        edges: visual edges, or None where the matcher is to build them.
    """

    features: Tensor
    layout: Layout
    boxes: Tensor | None = None
    sizes: Tensor | None = None
    relations: Tensor | None = None
    edges: Edges | None = None


@dataclass(frozen=True)
class CaptionBatch:
    """Captions of a batch.

    Attributes:
        words: `[W]` indices into the vocabulary.
        layout: which words belong to which caption.
        edges: textual edges with their types.
        image: `[C]` row of each caption's image in the batch's images.
        subwords: `[C, P]` token ids for a Hugging Face encoder, -1 in the padding, or None.
        word_of_subword: `[C, P]` row of each subword's word in `words`; -1 for special tokens and
            in the padding.
    """

    words: Tensor
    layout: Layout
    edges: Edges
    image: Tensor
    subwords: Tensor | None = None
    word_of_subword: Tensor | None = None


@dataclass(frozen=True)
class SwappedBatch:
    """Some captions of a batch, and the same with subject and object exchanged.

    Attributes:
        captions: S of the batch's captions as they are, then the S exchanged ones.
        places: `[S]` which of the process's pairs they are of.
        share: S of those that all processes exchange in this batch.
    """

    captions: CaptionBatch
    places: Tensor
    share: float


@dataclass(frozen=True)
class PhraseBatch:
    """Phrases of a batch's captions.

    Attributes:
        captions: S phrases, each as a caption.
        places: `[S]` which of the process's pairs they are of.
        is_shown: `[b, S]` bool, which of the process's images show what a phrase names, by their
            captions.
    """

    captions: CaptionBatch
    places: Tensor
    is_shown: Tensor


@dataclass(frozen=True)
class PairBatch:
    """A batch of B training pairs, of which this process encodes its share.

    Attributes:
        batch_index: position of the batch in its epoch, counted from 1.
        caption_indices: the B captions, as rows of the caption table.
        image_rows: `[B]` their images, as rows of the image table.
        words_by_process: for each process, the number of words of each caption of its share, on
            the host.
        images: this process's share, one image for each caption.
        captions: this process's share.
        swapped: of some of them, or None.
        phrases: of some of them, or None.
    """

    batch_index: int
    caption_indices: list[int]
    image_rows: Tensor
    words_by_process: tuple[Tensor, ...]
    images: ImageBatch
    captions: CaptionBatch
    swapped: SwappedBatch | None = None
    phrases: PhraseBatch | None = None
