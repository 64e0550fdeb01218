"""Draw docs/images/scenes.png: two pairs of twins, each picture with one of its captions.

python docs/images/scenes_figure.py
"""

import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.scenes.captions import write_captions
from pipeline.scenes.drawing import draw
from pipeline.scenes.layout import make_twins
from pipeline.scenes.scene import IMAGE_SIZE

TWINS = (("in front of", 7), ("inside", 1))
"""Core relations, and seeds that show them well."""

GAP, CAPTION_HEIGHT = 12, 58


def main() -> None:
    """Draw the figure beside this file."""
    width = 4 * IMAGE_SIZE + 3 * GAP
    figure = Image.new("RGB", (width, IMAGE_SIZE + CAPTION_HEIGHT), "white")
    pen, font = ImageDraw.Draw(figure), ImageFont.load_default(size=14)
    left = 0
    for relation, seed in TWINS:
        rng = np.random.default_rng(seed)
        twins = make_twins(rng, relation)
        captions = write_captions(rng, twins)
        number = next(k for k, caption in enumerate(captions[0]) if caption.is_hard)
        for scene, own in zip(twins.scenes, captions, strict=True):
            figure.paste(Image.fromarray(draw(scene)), (left, 0))
            text = "\n".join(textwrap.wrap(own[number].text, 34))
            pen.text((left + 2, IMAGE_SIZE + 5), text, fill=(40, 40, 48), font=font)
            left += IMAGE_SIZE + GAP
    figure.save(Path(__file__).with_name("scenes.png"), optimize=True)


if __name__ == "__main__":
    main()
