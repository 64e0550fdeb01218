"""The matcher that ships with the package belongs to its detector and parser, and finds things."""

import csv
import time
from collections import defaultdict
from pathlib import Path

import pytest

import resg
from resg.run_folder import BEST_WEIGHTS, SHIPPED

PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "photos_fullres"
QUERIES = {  # and the words of which a right picture has one in its own captions
    "a dog": ("dog",),
    "children playing": ("child", "boy", "girl", "kid"),
    "a man on a bicycle": ("bicycle", "bike"),
    "people in the snow": ("snow",),
    "someone in the water": ("water", "ocean", "river", "lake"),
}

pytestmark = pytest.mark.skipif(
    not (SHIPPED["photos"] / BEST_WEIGHTS).is_file(), reason="no weights of photos are shipped"
)


@pytest.fixture(scope="module")
def run():
    return resg.load("photos", device="cpu")


def test_its_detector_and_parser_are_those_of_the_package(run):
    assert run.region_names["labels"]
    assert run.parse_captions(["a man riding a horse"])
    assert run.folder.data["shards"] is None


def test_it_has_a_card_and_weights_in_half_precision(run):
    assert (SHIPPED["photos"] / "README.md").is_file()
    parameters = sum(p.numel() for p in run.matcher.state_dict().values())
    assert (SHIPPED["photos"] / BEST_WEIGHTS).stat().st_size < 3 * parameters


@pytest.mark.real_data
def test_three_of_five_plain_queries_have_a_right_picture_first(run, tmp_path):
    if not PHOTOS.is_dir():
        pytest.skip("../shared/data/photos_fullres is absent")
    captions = defaultdict(list)
    with (PHOTOS / "captions.tsv").open(encoding="utf-8") as stream:
        for key, text in csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
            captions[key.partition("#")[0]].append(text.lower())
    start = time.monotonic()
    index, report = resg.Index.build(PHOTOS / "images", tmp_path / "index", run)
    assert report.items["images"] == 48
    right = 0
    for query, words in QUERIES.items():
        best = index.search(query, k=1).hits[0]
        right += any(word in text for text in captions[best.id] for word in words)
    assert right >= 3
    assert time.monotonic() - start < 90
