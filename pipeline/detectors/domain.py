"""Are these pictures of the kind that a detector was trained on?

A detector answers every picture, with confidence, so nothing in its answer gives a wrong one away.
The picture itself can: a generated scene is mostly pale background.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from PIL import Image

from pipeline.detectors.base import DetectorInfo, Picture
from pipeline.errors import DataError
from pipeline.images import load_image
from pipeline.manifests.manifest import ImageItem

SCENES = "scenes"
"""Name of the one detector whose domain is recognised by its colours."""

SAMPLE = 16
"""Number of pictures of a data set that are checked, spread over it."""

SIDE = 112
"""Pixels to which a picture is shrunk before its colours are counted."""

PALE_LEVEL = 215
PALE_SPREAD = 30
PALE_SHARE = 0.5
"""A scene's background is at least this light in all channels, they differ by this spread at most,
and it covers at least this share. docs/regions.md gives the rates of false alarms and of misses."""


def is_scene(picture: Picture) -> bool:
    """Whether a picture may be one of `pipeline make-scenes`, by its pale background.

    Args:
        picture: `[height, width, 3]` RGB.
    """
    small = np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BOX))
    darkest, spread = small.min(2), np.ptp(small, axis=2)
    return bool(((darkest >= PALE_LEVEL) & (spread <= PALE_SPREAD)).mean() >= PALE_SHARE)


def domain_warning(pictures: Iterable[Picture], info: DetectorInfo) -> str | None:
    """What to tell a user whose pictures a detector was not made for, or None.

    Args:
        pictures: some of them; not read where the detector's domain cannot be recognised.
        info: of the detector.
    """
    if info.name != SCENES:
        return None
    are_scenes = [is_scene(picture) for picture in pictures]
    if all(are_scenes):
        return None
    return (
        f"warning: {are_scenes.count(False)} of the {len(are_scenes)} checked pictures are not "
        f"generated scenes. The detector {SCENES} was trained on these alone, so its regions are "
        "meaningless here.\nFor photographs use --detector photos."
    )


def sample_pictures(items: Sequence[ImageItem]) -> Iterator[Picture]:
    """Some pictures of a data set, spread over it; those that cannot be opened are passed over."""
    for item in items[:: max(1, len(items) // SAMPLE)][:SAMPLE]:
        try:
            yield load_image(item.path)
        except DataError:
            continue  # the stage reports it
