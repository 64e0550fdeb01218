"""Explaining one pair takes at most 2 s on a CPU, features ready, page and picture written.

    python benchmarks/explain.py

A synthetic image of 36 regions with features of 2,048, a caption of 12 words, one wrong caption, a
matcher of preset resg-gru with random weights. The fastest of five, and the mean processor time
of all threads, which counts where other programs use the cores. Exits 1 if the claim does not hold.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command has it, before PyTorch

import numpy as np
import torch
from measuring import Report, timed
from PIL import Image

from pipeline.shards.records import ImageRegions, ParsedCaption
from resg.data.vocabulary import Vocabulary
from resg.explain.explanation import explain_pair
from resg.explain.page import save_explanation
from resg.models.matcher import Matcher
from resg.presets import load_settings

LIMIT = 2.0
REPEATS = 5
SIDE = 500
REGIONS, WORDS, FEATURES = 36, 12, 2048


def synthetic_image() -> ImageRegions:
    random = np.random.default_rng(0)
    corners = random.uniform(0, SIDE - 150, (REGIONS, 2))
    boxes = np.hstack([corners, corners + random.uniform(20, 150, (REGIONS, 2))])
    features = random.normal(size=(REGIONS, FEATURES)).astype(np.float16)
    return ImageRegions("synthetic", features, boxes.astype(np.float32), (SIDE, SIDE))


def synthetic_caption(first: int) -> ParsedCaption:
    """Words in a chain of arcs."""
    words = tuple(f"word{number}" for number in range(first, first + WORDS))
    heads = (*range(1, WORDS), WORDS - 1)
    labels = ("dep",) * WORDS
    text = " ".join(words)
    return ParsedCaption(text, "synthetic", text, words, words, words, heads, labels)


def main() -> None:
    report, image = Report(), synthetic_image()
    captions = [synthetic_caption(0), synthetic_caption(WORDS // 2)]
    vocabulary = Vocabulary.build(captions)
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        picture, page = Path(folder, "picture.png"), Path(folder, "page.html")
        Image.new("RGB", (SIDE, SIDE), "grey").save(picture)
        for width in (256, 512, 1024):
            settings = load_settings("resg-gru", [f"model.width={width}"]).model
            matcher = Matcher(settings, vocabulary, FEATURES).eval()

            def explain(matcher: Matcher = matcher) -> None:
                told = explain_pair(matcher, vocabulary, image, captions[0], captions[1:])
                save_explanation(told, picture, page, page.with_suffix(".png"))

            began = time.process_time()
            _, fastest = timed(explain, "cpu", REPEATS)
            processor = (time.process_time() - began) / (REPEATS + 1)
            name = f"one pair, width {width}, page and picture"
            report.add(name, fastest, processor=processor)
    if any(min(f["seconds"], f["processor"]) > LIMIT for f in report.figures):
        sys.exit(f"expected at most {LIMIT} s")


if __name__ == "__main__":
    main()
