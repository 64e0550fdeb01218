"""Images and captions of a split are joined, whichever side names the splits."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.errors import DataError, SettingsError
from pipeline.shards.reader import MissingSplitError
from pipeline.shards.records import Failure
from pipeline.shards.sidecar import shard_path
from pipeline.shards.splits import draw_splits, open_split, read_splits
from pipeline.shards.writer import write_shard

SPLITS = {"train": range(3), "val": range(3, 5)}


@pytest.fixture
def write(tmp_path, image, caption, made_by, names):
    """Writes five images and ten captions, each side in the splits that it is given."""

    def write_both(regions, captions, image_name="{}", caption_name="{}", failures=()):
        for number, (split, rows) in enumerate(regions.items()):
            images = [image(image_name.format(row), seed=row) for row in rows]
            write_shard(
                shard_path(tmp_path, "regions", number), "regions", images, split=split,
                names=names, failures=failures, **made_by,
            )  # fmt: skip
        for number, (split, rows) in enumerate(captions.items()):
            ids = [caption_name.format(row) for row in rows]
            texts = [caption(f"{id_}#{k}", id_) for id_ in ids for k in range(2)]
            write_shard(
                shard_path(tmp_path, "captions", number), "captions", texts, split=split, **made_by
            )
        return tmp_path

    return write_both


def ids(found):
    """Ids of the images, and for each caption the id of its image among them."""
    images = [found.image_of.get(c.image_id, c.image_id) for c in found.captions]
    return list(found.images.ids), images


@pytest.mark.parametrize("whole", [None, "all"])
@pytest.mark.parametrize(
    ("regions", "captions"), [(SPLITS, SPLITS), (None, SPLITS), (SPLITS, None)]
)
def test_one_side_that_names_splits_is_enough(write, regions, captions, whole):
    everything = {whole: range(5)}
    shards = write(regions or everything, captions or everything)
    assert ids(open_split(shards, "train")) == (["0", "1", "2"], list("001122"))
    assert ids(open_split(shards, "val")) == (["3", "4"], list("3344"))
    with pytest.raises(MissingSplitError, match=r"no (regions|captions) of split 'tset'"):
        open_split(shards, "tset")


@pytest.mark.parametrize("regions", [SPLITS, {None: range(5)}])
def test_ids_of_other_projects_are_joined(write, regions):
    shards = write(regions, SPLITS, "39{}", "COCO_val2014_00000000039{}.jpg")
    assert ids(open_split(shards, "val")) == (["393", "394"], ["393", "393", "394", "394"])


def test_records_come_in_the_order_of_the_shards(write):
    found = open_split(write({None: [4, 3, 2, 1, 0]}, SPLITS), "val")
    assert [image.image_id for image in found.images] == found.images.ids == ["4", "3"]
    assert [caption.caption_id for caption in found.captions] == found.captions.ids
    assert found.captions.ids == ["3#0", "3#1", "4#0", "4#1"]
    assert [image.image_id for image in found.images[1:]] == ["3"]


def test_captions_that_name_their_split_stay_whether_their_image_is_there_or_not(write):
    shards = write({None: range(4)}, SPLITS)
    assert ids(open_split(shards, "val")) == (["3"], list("3344"))


@pytest.mark.parametrize("regions", [{"all": range(4)}, {"train": range(3), "val": [3]}])
def test_captions_without_split_need_an_image_unless_it_failed(write, regions):
    everything = {"all": range(5)}
    shards = write(regions, everything, failures=[Failure("4", "truncated")])
    if "all" in regions:
        draw_splits(shards, {"train": 0.5, "val": 0.5})
    images = {split: ids(open_split(shards, split))[0] for split in ("train", "val")}
    assert sorted(images["train"] + images["val"]) == list("0123")
    shards = write(regions, everything)
    with pytest.raises(DataError, match=r"no regions of 1 images .* '4'; its images are called"):
        open_split(shards, "train")


def test_a_name_in_two_splits_joins_neither(write, image, names, made_by):
    shards = write({"all": range(5)}, {"all": range(5)})
    for number, split in enumerate(("train", "val")):
        write_shard(
            shard_path(shards, "regions", number), "regions", [image(f"{split}/1.jpg")],
            split=split, names=names, **made_by,
        )  # fmt: skip
    with pytest.raises(DataError, match="no regions of 5 images"):
        open_split(shards, "train")


def test_without_splits_the_error_says_how_to_draw_them(write):
    shards = write({"all": range(5)}, {"all": range(5)})
    with pytest.raises(DataError, match=r"no split 'train'.*\n.*pipeline split"):
        open_split(shards, "train")
    draw_splits(shards, {"train": 0.6, "val": 0.4, "test": 0})
    assert len(open_split(shards, "train").images) == 3
    with pytest.raises(DataError, match=r"no images of split 'test', only of train, val"):
        open_split(shards, "test")


def write_pictures(folder, image, made_by, features, split="all"):
    images = [image(str(n), num_regions=1, features=f) for n, f in enumerate(features)]
    write_shard(
        shard_path(folder, "regions", 0), "regions", images, split=split,
        names={"labels": ["x"] * 3, "attributes": ["x"] * 3, "relations": ["x"] * 3}, **made_by,
    )  # fmt: skip
    return folder


@pytest.fixture
def twenty(tmp_path, image, made_by):
    features = np.arange(20, dtype=np.float32).reshape(20, 1, 1)
    return write_pictures(tmp_path, image, made_by, features)


SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def test_splits_have_their_shares_and_depend_on_the_seed(twenty):
    assert draw_splits(twenty, SHARES) == {"train": 16, "val": 2, "test": 2}
    drawn = read_splits(twenty)
    assert sorted(id_ for ids in drawn.values() for id_ in ids) == sorted(map(str, range(20)))
    draw_splits(twenty, SHARES)  # the same once more
    assert read_splits(twenty) == drawn
    with pytest.raises(DataError, match="--overwrite"):
        draw_splits(twenty, SHARES, seed=1)
    assert read_splits(twenty) == drawn
    draw_splits(twenty, SHARES, seed=1, overwrite=True)
    assert read_splits(twenty) != drawn


@pytest.mark.parametrize("seed", range(5))
def test_equal_pictures_stay_together(tmp_path, image, made_by, seed):
    features = np.arange(20, dtype=np.float32).repeat(2).reshape(40, 1, 1)
    write_pictures(tmp_path, image, made_by, features)
    draw_splits(tmp_path, SHARES, seed=seed)
    split_of = {id_: split for split, ids in read_splits(tmp_path).items() for id_ in ids}
    assert all(split_of[str(n)] == split_of[str(n + 1)] for n in range(0, 40, 2))


def test_every_split_has_a_picture(tmp_path, image, made_by):
    write_pictures(tmp_path, image, made_by, np.arange(3, dtype=np.float32).reshape(3, 1, 1))
    assert draw_splits(tmp_path, SHARES) == {"train": 1, "val": 1, "test": 1}
    write_pictures(tmp_path, image, made_by, np.zeros((3, 1, 1), np.float32))
    with pytest.raises(DataError, match="there are 1"):
        draw_splits(tmp_path, SHARES, overwrite=True)


def test_shards_that_name_splits_are_not_divided(tmp_path, image, made_by):
    write_pictures(tmp_path, image, made_by, np.zeros((3, 1, 1), np.float32), split="train")
    with pytest.raises(DataError, match="have splits already: train"):
        draw_splits(tmp_path, SHARES)


def test_shares_that_do_not_add_up_are_refused(twenty):
    for shares in ({"train": 0.8, "val": 0.8}, {"train": 1.2, "val": -0.2}):
        with pytest.raises(SettingsError, match="add up to 1, got train"):
            draw_splits(twenty, shares)


def test_the_command(twenty):
    def split(*options):
        return CliRunner().invoke(main, ["split", str(twenty), *options])

    assert "16 train, 2 val, 2 test images in" in split().output
    assert split("--val", "0.2").exit_code == 1
    assert json.loads(split("--val", "0.2", "--overwrite", "--json").output) == {
        "train": 14, "val": 4, "test": 2}  # fmt: skip
    assert split("--train", "0.9", "--val", "0.2").exit_code == 2
