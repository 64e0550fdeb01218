"""Reading training pictures: boxes as shares, words of captions, files that do not fit."""

import json

import pytest
import torch
from coco_files import COLOURS, make_coco

from pipeline.detectors.training.pictures import PictureSource, caption_words, read_pictures
from pipeline.errors import DataError, SettingsError


def source(folder, *, captions=False):
    path = folder / "captions.json.gz" if captions else None
    return PictureSource(folder / "images", folder / "boxes.json", path)


def test_boxes_are_shares_of_their_picture(tmp_path):
    corners = make_coco(tmp_path, width=80, height=60)
    pictures = read_pictures([source(tmp_path)], side=64)
    assert pictures.classes == ("red", "blue")
    assert pictures.pixels.shape == (4, 3, 64, 64)
    expected = torch.tensor(list(corners.values())) / torch.tensor([80.0, 60, 80, 60])
    assert torch.allclose(pictures.boxes[:, 0], expected)
    assert pictures.labels[:, 0].tolist() == [0, 1, 0, 1]
    x0, y0, x1, y1 = (pictures.boxes[0, 0] * 64).round().int().tolist()
    inside = pictures.pixels[0, :, (y0 + y1) // 2, (x0 + x1) // 2]
    assert inside.tolist() == list(COLOURS["red"])


def test_words_come_from_captions_of_the_train_split_alone(tmp_path):
    make_coco(tmp_path)
    words = caption_words(tmp_path / "captions.json.gz")
    assert words["1.png"] == {"blue", "box", "middle"}
    assert "0.png" not in words  # of the split val
    pictures = read_pictures([source(tmp_path, captions=True)], side=32, min_word_count=2)
    assert pictures.vocabulary == ("blue", "box", "middle")  # red stands in one caption of train
    assert pictures.has_words.tolist() == [False, True, True, True]
    assert pictures.words[1].tolist() == [1, 1, 1]
    assert pictures.words[2].tolist() == [0, 1, 1]


def test_weak_boxes_are_marked(tmp_path):
    make_coco(tmp_path, weak=True)
    assert read_pictures([source(tmp_path)], side=32).is_weak[:, 0].all()


def test_sources_with_other_classes_are_refused(tmp_path):
    make_coco(tmp_path / "a")
    make_coco(tmp_path / "b", classes=("blue", "red"))
    with pytest.raises(DataError, match="has others"):
        read_pictures([source(tmp_path / "a"), source(tmp_path / "b")], side=32)


def test_files_that_are_missing_or_broken_are_named(tmp_path):
    make_coco(tmp_path)
    (tmp_path / "images" / "2.png").unlink()
    with pytest.raises(DataError, match=r"2\.png"):
        read_pictures([source(tmp_path)], side=32)
    (tmp_path / "boxes.json").write_text(json.dumps({"images": []})[:-2])
    with pytest.raises(DataError, match=r"boxes\.json is not valid JSON"):
        read_pictures([source(tmp_path)], side=32)
    with pytest.raises(DataError, match="there is no such file"):
        read_pictures([PictureSource(tmp_path, tmp_path / "none.json")], side=32)


@pytest.mark.parametrize("text", ["a", "a,", "a,b,c,d", ",b"])
def test_the_form_of_photographs(text):
    with pytest.raises(SettingsError, match=r"FOLDER,BOXES\.json"):
        PictureSource.parse(text)
