"""`resg.Index` and `resg search`: the ranking is the matcher's own, in every direction."""

import doctest
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import resg
import resg.search.index as searching
from pipeline.errors import DataError
from resg.cli import main
from resg.errors import ResgError
from resg.index.build import update_index
from resg.index.sources import PictureSource, ShardSource
from resg.models.similarity import Similarity

QUERY = "a red circle is left of a blue square"


@pytest.fixture(scope="module")
def run(picture_run):
    return resg.load(picture_run.folder, device="cpu")


@pytest.fixture(scope="module")
def place(picture_run, run, tmp_path_factory):
    """An index of twelve pictures and of the captions of the training shards."""
    place = tmp_path_factory.mktemp("search")
    (place / "photos").mkdir()
    for picture in picture_run.pictures[:12]:
        shutil.copy(picture, place / "photos")
    captions = ShardSource.open(run, picture_run.shards, "captions", "train")
    update_index(place / "index", run, [PictureSource.of_folder(place / "photos"), captions])
    return place


@pytest.fixture(scope="module")
def index(place, run):
    return resg.Index(place / "index", run)


def scores_of(hits):
    return [hit.score for hit in hits]


def test_a_text_finds_images_by_the_matchers_own_scores(index, run, place):
    paths = sorted((place / "photos").iterdir())
    expected = run.similarity(run.encode_images(paths), run.encode_captions([QUERY]))[:, 0]
    hits = index.search(QUERY, k=12).hits
    assert [hit.rank for hit in hits] == list(range(1, 13))
    own = {hit.path: hit.score for hit in hits}
    np.testing.assert_allclose([own[path] for path in paths], expected, atol=2e-3)
    assert scores_of(hits) == sorted(scores_of(hits), reverse=True)


def test_a_picture_finds_captions_by_the_matchers_own_scores(index, run, place):
    path = min((place / "photos").iterdir())
    captions = run.captions("train")
    expected = run.similarity(run.encode_images([path]), run.encode_captions(captions))[0]
    hits = index.search(image=path, find="captions", k=5).hits
    np.testing.assert_allclose(scores_of(hits), np.sort(expected)[::-1][:5], atol=2e-3)
    assert hits[0].text in {caption.text for caption in captions}
    assert hits[0].image_id in {caption.image_id for caption in captions}


def test_the_most_similar_picture_is_the_picture_itself(index, place):
    for path in sorted((place / "photos").iterdir())[:3]:
        first = index.search(image=path, k=1).hits[0]
        assert first.path == path
        assert first.score == pytest.approx(1, abs=2e-3)
        assert index.search(image_id=path.name, k=1).hits[0].id == path.name


def test_a_text_finds_captions_by_their_embeddings(index):
    text = index.captions.entry(0).text
    assert index.search(text, find="captions", k=1).hits[0].score == pytest.approx(1, abs=2e-3)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(few=st.integers(1, 12), more=st.integers(1, 40))
def test_fewer_hits_are_the_first_of_more(index, few, more):
    ids = [hit.id for hit in index.search(image_id=index.images.entry(3).id, k=max(few, more)).hits]
    own = [hit.id for hit in index.search(image_id=index.images.entry(3).id, k=few).hits]
    assert own == ids[:few]
    assert len(ids) == min(12, max(few, more))


def test_equal_scores_are_in_the_order_of_ids(run, place, tmp_path):
    (tmp_path / "photos").mkdir()
    first, second = sorted((place / "photos").iterdir())[:2]
    for name in ("c", "a", "b"):
        shutil.copy(first, tmp_path / "photos" / f"{name}.png")
    shutil.copy(second, tmp_path / "photos" / "other.png")
    index, report = resg.Index.build(tmp_path / "photos", tmp_path / "index", run)
    assert report.encoded == 4
    ids = [hit.id for hit in index.search(image=first, k=4).hits]
    assert ids == ["a.png", "b.png", "c.png", "other.png"]


def test_reranking_changes_the_order_of_the_first_stage_alone(index, monkeypatch):
    everything = index.search(QUERY, k=12).hits
    monkeypatch.setattr(searching, "RERANKED", 6)
    query = index.run.encode_captions([QUERY]).embeddings.numpy()
    _, rows = index.images.neighbours.nearest(query, 6)
    hits = index.search(QUERY, k=3).hits
    assert {hit.row for hit in hits} <= set(rows[0].tolist())
    among = [hit.id for hit in everything if hit.row in rows[0]]
    assert [hit.id for hit in hits] == among[:3]


@pytest.mark.parametrize("change", [{"nodes": "none"}, {"embeddings": False}])
def test_presets_without_one_of_the_stages_are_searched_by_the_other(
    picture_run, place, monkeypatch, change
):
    run = resg.load(picture_run.folder, device="cpu")
    model = run.settings.model
    similarity = model.similarity.model_copy(update=change)
    model = model.model_copy(update={"similarity": similarity})
    run.folder = replace(run.folder, settings=run.settings.model_copy(update={"model": model}))
    run.matcher.similarity = Similarity(similarity, model.width)
    monkeypatch.setattr(searching, "RERANKED", 1)
    index = resg.Index(place / "index", run)
    every = index.images.encoded(np.arange(12))
    expected = run.similarity(every, run.encode_captions([QUERY]))[:, 0]
    hits = index.search(QUERY, k=12).hits
    assert len(hits) == 12
    np.testing.assert_allclose(scores_of(hits), np.sort(expected)[::-1], atol=1e-5)


def test_an_index_without_pictures_gives_no_paths(run, picture_run, tmp_path):
    update_index(tmp_path / "i", run, [ShardSource.open(run, picture_run.shards, "images", "val")])
    index = resg.Index(tmp_path / "i", run)
    assert all(hit.path is None for hit in index.search(QUERY).hits)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", DataError, "the caption is empty"),
        ("?!", DataError, "no word"),
        ("a red circle " * 50, ResgError, "at most 100 words"),
        ("word " * 10_000, DataError, "10,000 words"),
        ("собака на пляже", DataError, "Latin letters"),
        ("ein roter Kreis neben der Straße", ResgError, "Is it English"),
    ],
)
def test_a_query_that_means_nothing_is_refused(index, text, error, message):
    with pytest.raises(error, match=message):
        index.search(text)


def test_unknown_words_are_said(index):
    assert index.search("a red circle is left of a zebra").unknown == ["zebra"]


def test_a_query_is_one_thing(index, tmp_path):
    with pytest.raises(ResgError, match="expected one query"):
        index.search()
    with pytest.raises(ResgError, match="expected one query"):
        index.search("a dog", image=tmp_path / "dog.jpg")
    with pytest.raises(DataError, match="is missing"):
        index.search(image=tmp_path / "dog.jpg")
    with pytest.raises(ResgError, match="no image 'dog'"):
        index.search(image_id="dog")


def test_the_docstrings_example_runs(place, run):
    values = {**vars(searching), "path": place / "index"}
    (test,) = doctest.DocTestFinder(recurse=False).find(resg.Index, "Index", globs=values)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


# The commands


def call(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_two_commands_from_a_folder_to_answers(picture_run, place, tmp_path):
    out = tmp_path / "holiday.index"
    device = ("--device", "cpu")
    done = call("index", place / "photos", "--out", out, "--run", picture_run.folder, *device)
    assert done.exit_code == 0, done.output
    assert "12 images" in done.stdout
    done = call("search", out, QUERY, "-k", 3, *device)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert all(line.endswith(".png") for line in lines)
    page = tmp_path / "page.html"
    done = call("search", out, QUERY, "--json", "--html", page, *device)
    answer = json.loads(done.stdout)
    assert [hit["rank"] for hit in answer["hits"]] == list(range(1, 11))
    html = page.read_text()
    assert html.count("data:image/jpeg;base64,") == 10
    assert "http:" not in html
    assert "https:" not in html
    done = call("index", place / "photos", "--out", out, "--run", picture_run.folder, "--json")
    report = json.loads(done.stdout)
    assert (report["images"], report["encoded"], report["kept"]) == (12, 0, 12)


def test_a_page_shows_markup_in_names_as_text(run, place, tmp_path):
    (tmp_path / "photos").mkdir()
    source = min((place / "photos").iterdir())
    shutil.copy(source, tmp_path / "photos" / "<script>&.png")
    index, _ = resg.Index.build(tmp_path / "photos", tmp_path / "index", run)
    from resg.search.show import answer_page

    page = answer_page(index, "<b>", index.search(image=source))
    assert "<script>" not in page
    assert "&lt;script&gt;&amp;.png" in page
    assert "<b>" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "INDEX"), "either a TEXT or --image"),
        (("search", "INDEX", "a dog", "--image", "x.png"), "either a TEXT or --image"),
        (("index", "--out", "OUT"), "expected a folder of PICTURES"),
        (("index", "PHOTOS", "--shards", "PHOTOS", "--out", "OUT"), "either PICTURES or --shards"),
        (("index", "PHOTOS", "--split", "val", "--out", "OUT"), "go with --shards"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    picture_run, place, tmp_path, arguments, message
):
    names = {"INDEX": place / "index", "PHOTOS": place / "photos", "OUT": tmp_path / "out"}
    given_ = [names.get(argument, argument) for argument in arguments]
    if given_[0] == "index":
        given_ += ["--run", picture_run.folder]
    done = call(*given_)
    assert done.exit_code == 2
    assert message in done.output
    assert not (tmp_path / "out").exists()
