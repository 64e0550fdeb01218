"""detectron2's model zoo: its own configs, and weights that stand in for those of the network."""

import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from networks import batch_of, network, slim

pytest.importorskip("detectron2", reason="detectron2 is not installed")

from blocks import pictures
from detectron2.utils.file_io import PathManager

from pipeline.detectors.detectron2 import network as detectron2
from pipeline.detectors.detectron2.configuration import read_config, require_detectron2
from pipeline.detectors.specification import open_detector
from pipeline.errors import DataError, SettingsError

pytestmark = [pytest.mark.detectron2, pytest.mark.filterwarnings("ignore")]

NAME = "COCO-Detection/faster_rcnn_R_50_C4_3x"


@pytest.fixture(scope="module", autouse=True)
def quiet():
    require_detectron2()


@pytest.fixture
def model_zoo():
    return detectron2._model_zoo()


@pytest.fixture
def fetched(monkeypatch):
    """Addresses that weights were asked from; none can be reached."""
    asked = []

    def get_local_path(address, **_):
        asked.append(address)
        raise URLError("Name or service not known")

    monkeypatch.setattr(PathManager, "get_local_path", get_local_path)
    return asked


def test_weights_that_cannot_be_fetched_are_told_with_their_address(fetched):
    with pytest.raises(DataError, match="could not be downloaded") as told:
        open_detector(f"detectron2:zoo/{NAME}")
    (address,) = fetched
    assert address.startswith("https://")
    assert "faster_rcnn_R_50_C4_3x" in address
    assert address in str(told.value)
    assert "detectron2:CONFIG.yaml,WEIGHTS" in str(told.value)


def test_a_name_that_the_zoo_lacks_is_told(fetched):
    with pytest.raises(SettingsError, match=r"no 'COCO-Detection/faster_rcnn_R_51'"):
        open_detector("detectron2:zoo/COCO-Detection/faster_rcnn_R_51")
    assert not fetched


@pytest.mark.parametrize("name", [NAME, "COCO-Detection/faster_rcnn_R_50_FPN_3x"])
def test_a_config_of_the_zoo_names_cocos_classes(name, model_zoo):
    info = detectron2.config_info(
        read_config(Path(model_zoo.get_config_file(f"{name}.yaml"))), 2048
    )
    assert len(info.classes) == 80
    assert info.classes[:2] == ("person", "bicycle")
    assert (info.resize.short_side, info.resize.max_side) == (800, 1333)


@pytest.mark.parametrize("ending", ["", ".yaml"])
def test_config_and_weights_of_a_zoo_make_a_detector(tmp_path, monkeypatch, model_zoo, ending):
    config, theirs = slim("c4"), network(slim("c4"))
    (tmp_path / "slim.yaml").write_text(config.dump())
    torch.save({"model": theirs.module.model.state_dict()}, tmp_path / "slim.pth")
    monkeypatch.setattr(model_zoo, "get_config_file", lambda name: str(tmp_path / name))
    monkeypatch.setattr(
        model_zoo, "get_checkpoint_url", lambda name: str(tmp_path / name).replace("yaml", "pth")
    )
    detector = open_detector(f"detectron2:zoo/slim{ending}")
    batch = batch_of(pictures()[:1])
    (one,), (two,) = detector.network.start(batch)(), theirs.start(batch)()
    assert (one.features == two.features).all()
    assert detector.fingerprint["zoo"] == f"slim{ending}"


def test_setuptools_without_pkg_resources_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pkg_resources", None)
    for name in ("detectron2.model_zoo", "detectron2.model_zoo.model_zoo"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(SettingsError, match="setuptools<81"):
        open_detector(f"detectron2:zoo/{NAME}")
