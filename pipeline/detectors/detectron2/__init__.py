"""Detectors of detectron2: all that needs it to run or to be trained.

`network.py` runs any Faster R-CNN, `visual_genome.py` bottom-up attention's attribute detector,
with Caffe's conventions in `caffe.py`; `training.py` makes a new one from a config in `configs/`.
"""
