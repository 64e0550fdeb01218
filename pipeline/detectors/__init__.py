"""Detectors: the networks that propose regions, and the one rule that keeps some of them.

`specification.py` says which detector a user means, `base.py` what a detector is, `selection.py`
which boxes are kept, `resizing.py` how pictures are resized. `onnx.py` runs an exported network,
`torch_backend.py` one of torchvision (`torchvision.py`) or detectron2 (`detectron2/`), which
`exporting.py` writes into an ONNX file. `stage.py` runs a detector over many pictures.
"""
