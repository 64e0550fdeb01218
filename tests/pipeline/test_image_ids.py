"""Ids of one image in different projects are joined; ids of different images never are."""

import doctest
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import image_ids
from pipeline.image_ids import join_ids


def test_the_example_runs():
    assert doctest.testmod(image_ids).failed == 0


@pytest.mark.parametrize(
    "theirs",
    ["391895", "COCO_val2014_000000391895", "COCO_val2014_000000391895.jpg", "000000391895",
     "000000391895.jpg", "val2014/COCO_val2014_000000391895.jpg", "COCO_train2014_000000391895.png",
     "391895.jpg"],
)  # fmt: skip
def test_ids_of_coco_are_joined(theirs):
    ours = "COCO_val2014_000000391895.jpg"
    assert join_ids([ours, "COCO_val2014_000000000042.jpg"], [theirs, "7"]) == {ours: theirs}
    assert join_ids([theirs], [ours]) == {theirs: ours}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("1000092795.jpg", "1000092795"), ("a.JPG", "a"), ("images/a.jpg", "a.jpg"),
     ("a.b.jpg", "a.b"), (unicodedata.normalize("NFD", "café.jpg"), "café.jpg")],
)  # fmt: skip
def test_endings_folders_and_unicode_forms_do_not_matter(ours, theirs):
    assert join_ids([ours], [theirs]) == {ours: theirs}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(["cats/1.jpg", "dogs/1.jpg"], ["1"]), (["1"], ["cats/1.jpg", "dogs/1.jpg"]),
     (["a.jpg"], ["a.txt"]), (["train:1"], ["val:1"]), (["1#0"], ["1"]), (["A.jpg"], ["a.jpg"])],
)  # fmt: skip
def test_ids_of_several_images_or_of_others_are_not_joined(ours, theirs):
    assert join_ids(ours, theirs) == {}


def test_equal_ids_are_joined_even_where_their_keys_are_not_unique():
    ids = ["cats/1.jpg", "dogs/1.jpg", "001.jpg", "1.jpg"]
    assert join_ids(ids, ids) == {id_: id_ for id_ in ids}
    assert join_ids(["1.jpg", "01.jpg"], ["1.jpg"]) == {"1.jpg": "1.jpg"}


names = st.sets(st.text(st.sampled_from("ab01/."), min_size=1, max_size=4), max_size=6)


@given(names, names)
def test_no_image_has_two_partners(ours, theirs):
    joined = join_ids(ours, theirs)
    assert set(joined) <= ours
    assert set(joined.values()) <= theirs
    assert len(set(joined.values())) == len(joined)
    assert all(joined[id_] == id_ for id_ in ours & theirs)
