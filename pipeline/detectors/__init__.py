"""Detectors: the networks that propose regions, and the one rule that keeps some of them.

`specification.py` says which detector a user means, `base.py` what a detector is, `selection.py`
which boxes are kept, `resizing.py` how pictures are resized. Backends are `onnx.py` and
`detectron2.py`, with `checkpoints.py`, `configuration.py` and `roi_heads.py`; `stage.py` puts a
detector to work over many pictures, `training.py` makes a new one.
"""
