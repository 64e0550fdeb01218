"""Draw a scene, and find which pixels of each object are visible."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pipeline.scenes.scene import IMAGE_SIZE, Scene, SceneObject
from pipeline.scenes.shapes import stencil

COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (58, 60, 70),
    "blue": (52, 104, 200),
    "brown": (139, 92, 58),
    "green": (66, 158, 84),
    "orange": (242, 138, 34),
    "pink": (244, 146, 188),
    "purple": (132, 78, 190),
    "red": (212, 52, 50),
    "turquoise": (58, 192, 190),
    "yellow": (247, 208, 58),
}
LIGHT_COLOURS = {"orange", "pink", "turquoise", "yellow"}
"""Colours whose pattern is a darker tone; the others' is a lighter one."""

BACKGROUNDS = ((236, 240, 248), (247, 240, 230), (236, 246, 238), (246, 236, 242), (240, 238, 250))

Floats = NDArray[np.float32]


def draw(scene: Scene) -> NDArray[np.uint8]:
    """Draw a scene, back to front.

    Returns:
        `[IMAGE_SIZE, IMAGE_SIZE, 3]`, RGB.
    """
    canvas = _background(scene.background).copy()
    for item in scene.objects:
        _cast_shadow(canvas, item)
        place = _place(item)
        alpha = stencil(item.kind.shape, item.radius).alpha[..., None]
        canvas[place] = canvas[place] * (1 - alpha) + alpha * _painted(item)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def visible_pixels(scene: Scene) -> NDArray[np.bool_]:
    """Which pixels show each object.

    A pixel shows an object when, of what is seen there, at least half is that object's.

    Returns:
        `[objects, IMAGE_SIZE, IMAGE_SIZE]`
    """
    shown = np.zeros((len(scene.objects), IMAGE_SIZE, IMAGE_SIZE), dtype=bool)
    through = np.ones((IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32)  # light that reaches this depth
    for index in reversed(range(len(scene.objects))):
        item = scene.objects[index]
        place = _place(item)
        alpha = stencil(item.kind.shape, item.radius).alpha
        shown[index][place] = alpha * through[place] >= 0.5
        through[place] *= 1 - alpha
    return shown


def _place(item: SceneObject) -> tuple[slice, slice]:
    extent = item.extent
    return slice(extent.top, extent.bottom), slice(extent.left, extent.right)


def _painted(item: SceneObject) -> Floats:
    """`[height, width, 3]` the object's colours, pattern, shading and outline, before its alpha."""
    drawn = stencil(item.kind.shape, item.radius)
    height, width = drawn.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    base = np.array(COLOURS[item.kind.colour], dtype=np.float32)
    toned = base * 0.66 if item.kind.colour in LIGHT_COLOURS else base * 0.25 + 255 * 0.75
    pattern = _pattern(item, x, y)[..., None]
    paint = base * (1 - pattern) + toned * pattern
    # light falls in from the upper left; the far side turns darker
    slope = (x / max(width - 1, 1) + y / max(height - 1, 1)) / 2
    paint = paint * (1.14 - 0.30 * slope[..., None])
    glow = np.exp(-(((x - width * 0.33) / width) ** 2 + ((y - height * 0.28) / height) ** 2) * 22)
    paint = paint + (255 - paint) * (0.20 * glow[..., None])
    edge = base * 0.55
    inside = drawn.body[..., None]
    return (paint * inside + edge * (1 - inside)).astype(np.float32)


def _pattern(item: SceneObject, x: Floats, y: Floats) -> Floats:
    """`[height, width]` share of the pattern's tone at each pixel."""
    scale = max(item.radius / 30, 0.72)
    if item.kind.texture == "striped":
        period = 11.0 * scale
        wave = np.abs(((x + y) / np.sqrt(2) % period) - period / 2)  # 0 in the middle of a stripe
        return np.clip(period * 0.23 - wave + 0.5, 0, 1).astype(np.float32)
    if item.kind.texture == "dotted":
        period = 11.5 * scale
        row = np.floor(y / period)
        across = (x + period / 2 * (row % 2)) % period - period / 2
        distance = np.hypot(across, y % period - period / 2)
        return np.clip(period * 0.30 - distance + 0.5, 0, 1).astype(np.float32)
    return np.zeros_like(x)


def _cast_shadow(canvas: Floats, item: SceneObject) -> None:
    shadow = _shadow(item.kind.shape, item.radius)
    pad = SHADOW_BLUR * 3
    top, left = item.top - pad + 4, item.left - pad + 3
    height, width = shadow.shape
    rows = slice(max(top, 0), min(top + height, IMAGE_SIZE))
    columns = slice(max(left, 0), min(left + width, IMAGE_SIZE))
    part = shadow[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    canvas[rows, columns] *= 1 - 0.34 * part[..., None]


SHADOW_BLUR = 4


@lru_cache(maxsize=1024)
def _shadow(shape: str, radius: int) -> Floats:
    alpha = np.pad(stencil(shape, radius).alpha, SHADOW_BLUR * 3)
    picture = Image.fromarray((alpha * 255).astype(np.uint8))
    blurred = picture.filter(ImageFilter.GaussianBlur(SHADOW_BLUR))
    return (np.asarray(blurred) / 255).astype(np.float32)


@lru_cache(maxsize=64)
def _background(style: int) -> Floats:
    """A soft gradient from one pastel to another, lit from the upper left."""
    upper = np.array(BACKGROUNDS[style % len(BACKGROUNDS)], dtype=np.float32)
    lower = np.array(BACKGROUNDS[style // len(BACKGROUNDS) % len(BACKGROUNDS)], dtype=np.float32)
    y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE].astype(np.float32) / (IMAGE_SIZE - 1)
    mix = (0.25 * x + 0.75 * y)[..., None]
    far = np.hypot(x - 0.45, y - 0.35)[..., None]
    light = 1.02 - 0.10 * far**2
    return ((upper * (1 - mix) + lower * 0.93 * mix) * light).astype(np.float32)


NUM_BACKGROUNDS = len(BACKGROUNDS) ** 2
