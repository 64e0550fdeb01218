"""`resg report` on runs with embedded detector and parser."""

import re
import shutil
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from resg.cli import main
from resg.jobs import evaluate_runs, train_seeds
from resg.presets import load_settings
from resg.report.collecting import collect_reports
from resg.report.page import report_page

CPU = torch.device("cpu")
SMALL = ("model.width=16", "train.batch_size=8", "train.epochs=2")


@pytest.fixture(scope="module")
def seeds(picture_run, tmp_path_factory):
    """A folder of two seeds of a baseline."""
    folder = tmp_path_factory.mktemp("report") / "vse"
    train_seeds(picture_run.shards, folder, load_settings("vse++", SMALL), 2, CPU)
    return folder


@pytest.fixture(scope="module")
def page(seeds, picture_run, tmp_path_factory):
    """The page of both, as the command writes it."""
    out = tmp_path_factory.mktemp("page") / "report.html"
    scenes = picture_run.pictures[0].parents[1]
    command = ["report", str(seeds), str(picture_run.folder), "--out", str(out), "--device", "cpu"]
    pairs = ["--pairs", str(scenes / "hard_pairs.json")]
    result = CliRunner().invoke(main, [*command, "--images", str(scenes), *pairs])
    assert result.exit_code == 0, result.output
    assert result.output.strip() == f"Made: {out.resolve()}"
    return out.read_text("utf-8")


def rows_of(page):
    """Cells of each row of its tables."""
    return [
        [unescape(re.sub("<[^>]+>", "", cell)) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)]
        for row in re.findall(r"<tr>.*?</tr>", page)
    ]


class Sources(HTMLParser):
    """Sources of the pictures of a page."""

    def __init__(self, page):
        super().__init__()
        self.sources, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        assert tag != "script"
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag == "img":
            assert dict(attrs)["alt"]


def test_recall_is_what_evaluate_says_with_deviations_over_seeds(page, seeds, picture_run):
    cells = {row[0]: row[1:] for row in rows_of(page)}
    several = evaluate_runs([seeds], "test", "full", CPU)
    one = evaluate_runs([picture_run.folder], "test", "full", CPU)
    assert cells["rSum"] == [
        f"{several['rsum']:.1f} ± {several['deviation']['rsum']:.1f}",
        f"{one['rsum']:.1f}",
        f"{one['chance']['rsum']:.1f}",
    ]
    assert cells["text to image, R@1"][1] == f"{one['t2i']['r1']:.1f}"


def test_all_parts_are_there(page):
    headings = [unescape(text) for text in re.findall(r"<h2>(.*?)</h2>", page)]
    assert headings == [
        "Recall",
        "Curves",
        "Ranks",
        "Probes",
        "Confusions that hurt most: vse",
        "Confusions that hurt most: run",
        "Data, settings and versions",
    ]
    cells = {row[0]: row[1:] for row in rows_of(page)}
    assert len(cells["rSum, edges removed"]) == 2
    assert "±" in cells["rSum, edges removed"][0]
    assert "hard pairs told apart" in cells
    assert cells["preset"] == ["vse++", "resg-gru"]
    assert cells["seeds"] == ["0, 1", "0"]
    assert cells["setting model.width"] == ["16", "16"]
    assert "torch" in cells["versions at training"][0]


def test_the_page_needs_no_network_and_shows_the_pictures(page):
    sources = Sources(page).sources
    assert all(source.startswith("data:image/") for source in sources)
    assert sum(source.startswith("data:image/svg+xml") for source in sources) == 4
    assert sum(source.startswith("data:image/jpeg") for source in sources) > 4
    assert "not in the folder" not in page


def test_ranks_are_of_all_seeds_and_confusions_of_their_mean(seeds):
    (report,) = collect_reports([seeds], "test", CPU, model=None)
    captions = len(report.captions)
    assert len(report.caption_ranks) == 2 * captions
    recall = 100 * float(np.mean(report.caption_ranks < 1))
    assert report.figures["t2i"]["r1"] == pytest.approx(recall)
    assert report.probes == ()
    assert "--no-probes" in report_page([report])


def test_text_of_the_data_is_escaped(seeds):
    (report,) = collect_reports([seeds], "test", CPU, model=None)
    evil = "<script>alert(1)</script>"
    texts = [evil] * len(report.captions)
    ids = [evil] * len(report.image_ids)
    Sources(report_page([replace(report, captions=texts, image_ids=ids, name=evil)]))


def test_a_run_without_metrics_has_no_curves(picture_run, tmp_path):
    copy = shutil.copytree(picture_run.folder, tmp_path / "bare")
    (copy / "metrics.jsonl").unlink()
    page = report_page(collect_reports([copy], "test", CPU, model=None))
    assert "No curves of bare" in page


def test_pictures_that_are_missing_are_told(picture_run, tmp_path):
    shutil.copy(picture_run.pictures[0], tmp_path / "other.png")
    (report,) = collect_reports([picture_run.folder], "test", CPU, model=None)
    assert "is not in the folder of --images" in report_page([report], tmp_path)


@pytest.mark.parametrize(
    ("out", "twice", "said"),
    [
        ("report.pdf", False, "ends in .html"),
        ("no/report.html", False, "there is no"),
        ("report.html", True, "named twice"),
    ],
)
def test_bad_input_is_told_and_nothing_written(out, twice, said, picture_run, tmp_path):
    runs = [str(picture_run.folder)] * (2 if twice else 1)
    command = ["report", *runs, "--out", str(tmp_path / out), "--device", "cpu"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code
    assert said in result.output
    assert not list(tmp_path.iterdir())
