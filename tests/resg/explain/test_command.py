"""`resg explain` and `Run.explain` on pictures of a run with embedded detector and parser."""

import pytest
from click.testing import CliRunner
from PIL import Image

import resg
from pipeline.errors import DataError
from resg.cli import main
from resg.errors import ResgError
from resg.explain.stored_regions import stored_regions

CAPTION = "a red circle is above a blue square"


@pytest.fixture(scope="module")
def run(picture_run):
    return resg.load(picture_run.folder, device="cpu")


def resg_explain(picture_run, *arguments, caption=CAPTION):
    run_and_image = ["--run", str(picture_run.folder), "--image", str(picture_run.pictures[0])]
    command = ["explain", *run_and_image, "--caption", caption, "--device", "cpu"]
    return CliRunner().invoke(main, [*command, *map(str, arguments)])


def test_the_command_writes_a_page_and_a_picture(picture_run, tmp_path):
    page, png = tmp_path / "why.html", tmp_path / "why.png"
    result = resg_explain(picture_run, "--out", page, "--png", png)
    assert result.exit_code == 0, result.output
    assert "nearest wrong caption of 1: 'a blue square is above a red circle'" in result.output
    assert f"Made: {page}" in result.output
    assert CAPTION in page.read_text("utf-8")
    with Image.open(png) as picture:
        assert picture.width > 3 * 400


def test_candidates_and_other_captions_are_compared(picture_run, tmp_path):
    candidates = tmp_path / "wrong.txt"
    candidates.write_text("a green star\n\na dog in the snow\n")
    page = tmp_path / "why.html"
    options = ("--candidates", candidates, "--other", "a black ring", "--out", page)
    result = resg_explain(picture_run, *options)
    assert result.exit_code == 0, result.output
    assert "nearest wrong caption of 3:" in result.output
    assert "highest of 3 other captions" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "caption", "said"),
    [
        ((), CAPTION, "expected --out FILE.html, --png FILE.png, or both"),
        (("--out", "why.txt"), CAPTION, "ends in .html"),
        (("--out", "why.html"), " ", "the caption is empty"),
        (("--out", "why.html"), "one " * 150, "at most 100 words"),
    ],
)
def test_bad_input_is_told_and_nothing_written(
    options, caption, said, picture_run, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    result = resg_explain(picture_run, *options, caption=caption)
    assert result.exit_code
    assert said in result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_regions_of_shards_are_those_that_the_detector_finds(run, picture_run, tmp_path):
    page, stored = tmp_path / "detected.html", tmp_path / "stored.html"
    detected = resg_explain(picture_run, "--out", page)
    read = resg_explain(picture_run, "--out", stored, "--shards", picture_run.shards)
    assert read.exit_code == 0, read.output
    assert read.output.splitlines()[:-1] == detected.output.splitlines()[:-1]
    assert stored.read_text("utf-8") == page.read_text("utf-8")


def test_a_picture_that_shards_do_not_have_is_told(run, picture_run, tmp_path):
    with pytest.raises(ResgError, match=r"expected regions of 'dog\.jpg' or 'dog'"):
        stored_regions(run.folder, picture_run.shards, tmp_path / "dog.jpg")


def test_from_python_with_regions_or_a_path(run, picture_run):
    path = picture_run.pictures[0]
    by_path = run.explain(path, CAPTION)
    by_regions = run.explain(run.detect_regions(path), CAPTION, names=run.region_names)
    assert by_regions.caption.score == by_path.caption.score
    assert by_regions.regions == by_path.regions
    scores = run.similarity(run.encode_images([path]), run.encode_captions([CAPTION]))
    assert by_path.caption.score == pytest.approx(scores.item(), abs=1e-5)
    assert by_path.wrong.text == "a blue square is above a red circle"


def test_others_may_be_none_at_all(run, picture_run):
    told = run.explain(picture_run.pictures[0], CAPTION, others=[])
    assert told.wrong is None
    assert told.rivals == 0


def test_a_file_that_is_no_picture_is_told(run, tmp_path):
    path = tmp_path / "x.png"
    path.write_text("no picture")
    with pytest.raises(DataError, match="is it a picture"):
        run.explain(path, CAPTION)
