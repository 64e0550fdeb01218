"""Makes ../golden/: a slim random C4 network and what detectron2 says with it.

In this folder, with detectron2: PYTHONPATH=../shared python make_golden.py
"""

from pathlib import Path

import numpy as np
from blocks import pictures
from networks import network, slim

from pipeline.detectors.base import RegionDetector
from pipeline.detectors.exporting import export_network
from pipeline.detectors.selection import Selection

GOLDEN = Path(__file__).parents[1] / "golden"
PARTS = ("boxes", "features", "labels", "scores", "attribute_scores")

if __name__ == "__main__":
    config = slim("c4")
    resnets = config.MODEL.RESNETS
    resnets.STEM_OUT_CHANNELS, resnets.WIDTH_PER_GROUP, resnets.RES2_OUT_CHANNELS = 8, 4, 8
    made = network(config)
    GOLDEN.mkdir(exist_ok=True)
    export_network(made.module, made.info, GOLDEN / "slim_c4.onnx")
    found = RegionDetector(made, Selection(12, 12), {}).detect(pictures())
    arrays = {f"{part}{k}": getattr(r, part) for k, r in enumerate(found) for part in PARTS}
    np.savez_compressed(GOLDEN / "slim_c4.npz", **arrays)
