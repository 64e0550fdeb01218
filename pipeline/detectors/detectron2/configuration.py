"""Settings of a detectron2 detector: its own config file, and the few keys that are ours."""

import importlib.util
import warnings
from pathlib import Path
from typing import Any

from pipeline.errors import MissingExtraError, SettingsError

CONFIGS = Path(__file__).with_name("configs")


def require_detectron2() -> None:
    """Make sure that detectron2 and torchvision are there.

    Raises:
        MissingExtraError: one is not; it names the extra and the way without detectron2.
    """
    for package in ("detectron2", "torchvision"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(
                package,
                "detectron2",
                "detectron2 itself is installed from source, see docs/regions.md. Without it, use "
                "--detector photos, torchvision:MODEL or a detector exported to ONNX: onnx:FILE.",
            )
    with warnings.catch_warnings():
        # fvcore and detectron2 use torch functions that newer versions call deprecated.
        warnings.simplefilter("ignore")

        # they register our parts under their names
        import pipeline.detectors.detectron2.caffe
        import pipeline.detectors.detectron2.roi_heads  # noqa: F401 - importing it registers


def config_names() -> list[str]:
    """Names of the configs that come with the package."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def new_config() -> Any:
    """detectron2's defaults and our keys."""
    from detectron2.config import CfgNode, get_cfg

    config = get_cfg()
    config.MODEL.CLASSES = []  # their names, in the order of the scores
    config.MODEL.ATTRIBUTES = CfgNode()
    config.MODEL.ATTRIBUTES.NAMES = []  # none: no attribute head
    config.MODEL.ATTRIBUTES.GROUPS = []  # of each name; those of one group exclude each other
    config.MODEL.ATTRIBUTES.KIND = "linear"  # or class-conditioned, as bottom-up attention has it
    config.MODEL.ATTRIBUTES.EMBEDDING_WIDTH = 256  # of the class, where attributes are given it
    config.MODEL.ATTRIBUTES.HIDDEN_WIDTH = 512
    config.MODEL.ATTRIBUTES.LOSS_WEIGHT = 1.0
    config.SOLVER.OPTIMIZER = "SGD"  # or AdamW
    config.MODEL.REGIONS = CfgNode()
    config.MODEL.REGIONS.BOXES = "refined"  # or proposals: what selection looks at and shards hold
    config.MODEL.REGIONS.RESIZE = "pillow"  # or opencv, as Caffe's code does
    config.MODEL.REGIONS.SELECTION = CfgNode(new_allowed=True)  # see SelectionDefaults
    return config


def read_config(path: Path) -> Any:
    """A config file; class names come from `classes.txt` beside it where it has none itself.

    Raises:
        SettingsError: it does not exist, or holds a key that detectron2 does not know.
    """
    config = new_config()
    if not path.is_file():
        raise SettingsError(
            f"expected a detectron2 config file or one of {', '.join(config_names())}, "
            f"got {path}, which does not exist."
        )
    try:
        config.merge_from_file(str(path))
    except (KeyError, ValueError, AssertionError, AttributeError, TypeError) as error:
        raise SettingsError(
            f"{path} is not a config of a detectron2 detector: {error}\n"
            "Expected YAML with the keys of detectron2.config, such as MODEL.META_ARCHITECTURE."
        ) from error
    names = path.with_name("classes.txt")
    if not config.MODEL.CLASSES and names.is_file():
        config.MODEL.CLASSES = names.read_text(encoding="utf-8-sig").split("\n")
        config.MODEL.CLASSES = [name.strip() for name in config.MODEL.CLASSES if name.strip()]
    return config


def named_config(name: str) -> Any:
    """A config of the package by its name, or of a file by its path."""
    inside = CONFIGS / f"{name}.yaml"
    return read_config(inside if inside.is_file() else Path(name))
