"""Turn pictures and captions into HDF5 shards of regions and relation triples.

What is listed here is the public interface; everything else is private by convention and may
change. The stages themselves are run on the command line (`pipeline --help`).

Example:
    >>> import pipeline
    >>> regions = pipeline.read_regions("shards", split="train")
    >>> regions[0].image_id, regions[0].features.shape
    ('dog.jpg', (2, 256))
    >>> captions = pipeline.read_captions("shards", split="train")
    >>> captions[0].text
    'a dog in a field'
    >>> [triple.strings for triple in pipeline.parse("a man riding a horse")._.triples]
    [('man', 'ride', 'horse')]
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported where they are used, so that `import pipeline` takes no time
    from spacy.tokens import Doc

    from pipeline.shards.reader import ShardReader
    from pipeline.shards.records import ImageRegions, ParsedCaption

__version__ = "0.1.0"
__all__ = ["__version__", "parse", "read_captions", "read_regions"]


def read_regions(path: Path | str, split: str | None = None) -> "ShardReader[ImageRegions]":
    """Open the shards of regions in a folder, as one sequence of images.

    Args:
        path: folder of shards, as `pipeline extract-regions` or `import-regions` wrote it.
        split: read only the images of this split, such as `train`; None for all.

    Returns:
        A sequence of `ImageRegions`. Each has `features` `[R, D]`, and where the detector gave them
        `boxes` `[R, 4]` in pixels of the original image, `labels`, `scores` and `attributes`. The
        arrays are read-only views of a memory map.

    Raises:
        DataError: there are no such shards, or they are damaged or do not belong together.

    Example:
        >>> regions = read_regions("shards")
        >>> len(regions), regions.index("dog.jpg")
        (1, 0)
        >>> regions[0].boxes.tolist()
        [[0.0, 0.0, 30.0, 20.0], [4.0, 5.0, 12.0, 18.0]]
    """
    from pipeline.shards.reader import ShardReader

    return ShardReader(path, "regions", split)


def read_captions(path: Path | str, split: str | None = None) -> "ShardReader[ParsedCaption]":
    """Open the shards of captions in a folder, as one sequence.

    Args:
        path: folder of shards, as `pipeline parse-captions` wrote it.
        split: read only the captions of this split, such as `train`; None for all.

    Returns:
        A sequence of `ParsedCaption`: text, tokens, dependency arcs, objects and triples.

    Raises:
        DataError: there are no such shards, or they are damaged or do not belong together.

    Example:
        >>> caption = read_captions("shards")[0]
        >>> caption.caption_id, caption.image_id
        ('dog.jpg#0', 'dog.jpg')
    """
    from pipeline.shards.reader import ShardReader

    return ShardReader(path, "captions", split)


def parse(text: str, model: str = "embedded") -> "Doc":
    """Parse one caption into words, dependency arcs and relation triples.

    Args:
        text: the caption, in English.
        model: name of an installed spaCy model, folder of one, or `embedded`: the model that ships
            with the package. It is loaded once.

    Returns:
        A spaCy `Doc`. `doc._.objects` has the things that the caption names, `doc._.triples` their
        relations and attributes, each with spans, normalised strings and the rule that made it.

    Raises:
        DataError: the text holds nothing that can be parsed.
        SettingsError: there is no such model, or it cannot be loaded.

    Example:
        >>> doc = parse("a young man in front of two barns")
        >>> [triple.strings for triple in doc._.triples]
        [('man', 'in front of', 'barns'), ('man', 'is', 'young'), ('barns', 'is', '2')]
        >>> [str(thing.span) for thing in doc._.objects]
        ['man', 'barns']
    """
    from pipeline.parsing.parser import parse_caption

    return parse_caption(text, model)
