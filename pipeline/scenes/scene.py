"""A scene: objects with positions and drawing order, and their pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.scenes.shapes import stencil

IMAGE_SIZE = 224
"""Width and height of every picture in pixels."""

TEXTURES = ("dotted", "plain", "striped")
SIZES = ("large", "small")

Pixels = NDArray[np.bool_]


@dataclass(frozen=True)
class Kind:
    """What an object is, wherever it stands."""

    shape: str
    colour: str
    texture: str


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene.

    Attributes:
        kind: shape, colour and texture.
        size: `small` or `large`, as captions say it.
        radius: unit of its outline in pixels.
        left: first column of its stencil in the picture.
        top: first row of its stencil in the picture.
        role: number of its kind in the scene: 0 and 1 are exchanged between twins.
    """

    kind: Kind
    size: str
    radius: int
    left: int
    top: int
    role: int

    @property
    def attributes(self) -> dict[str, str]:
        """Its attributes by group."""
        return {"size": self.size, "texture": self.kind.texture, "colour": self.kind.colour}

    @property
    def extent(self) -> "Box":
        """The box of its whole shape, covered parts included."""
        height, width = stencil(self.kind.shape, self.radius).shape
        return Box(self.left, self.top, self.left + width, self.top + height)


@dataclass(frozen=True)
class Box:
    """Corners in pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def centre(self) -> tuple[float, float]:
        """Column and row of the middle."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def meets(self, other: "Box", gap: int = 0) -> bool:
        """Whether the boxes are less than `gap` pixels apart along both axes."""
        return (
            self.left < other.right + gap
            and other.left < self.right + gap
            and self.top < other.bottom + gap
            and other.top < self.bottom + gap
        )

    def within(self, margin: int) -> bool:
        """Whether it keeps `margin` pixels from the picture's border."""
        return min(self.left, self.top) >= margin and (
            max(self.right, self.bottom) <= IMAGE_SIZE - margin
        )


@dataclass(frozen=True)
class Scene:
    """Objects from back to front, and the number of a background.

    Twins list the same places in the same order; only who stands in them differs.
    """

    objects: tuple[SceneObject, ...]
    background: int


def own_pixels(item: SceneObject) -> Pixels:
    """`[IMAGE_SIZE, IMAGE_SIZE]` the pixels that the object covers, seen or not."""
    return _on_canvas(item, stencil(item.kind.shape, item.radius).covers)


def solid_pixels(item: SceneObject) -> Pixels:
    """`[IMAGE_SIZE, IMAGE_SIZE]` the pixels within the object's outline, a hole included."""
    return _on_canvas(item, stencil(item.kind.shape, item.radius).solid)


def _on_canvas(item: SceneObject, covers: Pixels) -> Pixels:
    canvas = np.zeros((IMAGE_SIZE, IMAGE_SIZE), dtype=bool)
    extent = item.extent
    canvas[extent.top : extent.bottom, extent.left : extent.right] = covers
    return canvas
