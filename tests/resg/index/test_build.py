"""An index follows its folder: what is new, changed, renamed, gone or cannot be read."""

import json
import shutil

import numpy as np
import pytest

import resg
from pipeline.errors import DataError
from resg.errors import ResgError
from resg.index import build
from resg.index.build import IndexingInterrupted, update_index
from resg.index.folder import IndexFolder
from resg.index.sources import CaptionSource, PictureSource, ShardSource


@pytest.fixture(scope="module")
def run(picture_run):
    return resg.load(picture_run.folder, device="cpu")


@pytest.fixture
def folder(picture_run, tmp_path):
    """Eight pictures, two of them in a subfolder."""
    (tmp_path / "photos" / "trip").mkdir(parents=True)
    for number, picture in enumerate(picture_run.pictures[:8]):
        place = "trip" if number < 2 else "."
        shutil.copy(picture, tmp_path / "photos" / place / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def update(run, folder, tmp_path):
    """What updates the index of the folder; returns the report."""

    def of_folder(**options):
        return update_index(tmp_path / "index", run, [PictureSource.of_folder(folder)], **options)

    return of_folder


def content(index_folder):
    """Embedding of each image of an index by its id."""
    found = {}
    for segment in IndexFolder.read(index_folder).segments("images"):
        embeddings = segment.array("embeddings")
        found |= {
            entry.id: np.array(e) for entry, e in zip(segment.entries, embeddings, strict=True)
        }
    return found


def numbers(report):
    return report.encoded, report.kept, report.removed


def test_the_index_of_a_folder_holds_all_its_pictures(update, run, folder, tmp_path):
    report = update()
    assert (report.items, numbers(report)) == ({"images": 8, "captions": 0}, (8, 0, 0))
    found = content(tmp_path / "index")
    assert set(found) == {"trip/0.png", "trip/1.png", *(f"{n}.png" for n in range(2, 8))}
    expected = run.encode_images([folder / "5.png"]).embeddings[0].numpy()
    np.testing.assert_allclose(found["5.png"], expected, atol=1e-3)


def test_nothing_is_encoded_again_without_a_change(update, tmp_path):
    update()
    before = (tmp_path / "index" / "index.json").read_text()
    assert numbers(update()) == (0, 8, 0)
    assert (tmp_path / "index" / "index.json").read_text() == before


def test_added_and_removed_pictures_alone_change_the_index(update, folder, picture_run, tmp_path):
    update()
    before = content(tmp_path / "index")
    shutil.copy(picture_run.pictures[9], folder / "new.png")
    (folder / "3.png").unlink()
    assert numbers(update()) == (1, 7, 1)
    after = content(tmp_path / "index")
    assert set(after) == set(before) - {"3.png"} | {"new.png"}
    for id_ in set(before) & set(after):
        assert np.array_equal(before[id_], after[id_])


def test_a_renamed_or_touched_picture_is_not_encoded_again(update, folder, tmp_path):
    update()
    before = content(tmp_path / "index")
    (folder / "3.png").rename(folder / "trip" / "3.png")
    (folder / "4.png").touch()
    assert numbers(update()) == (0, 8, 1)  # the old name is gone
    after = content(tmp_path / "index")
    assert np.array_equal(after["trip/3.png"], before["3.png"])
    assert numbers(update()) == (0, 8, 0)


def test_a_changed_picture_is_encoded_again(update, folder, picture_run, tmp_path):
    update()
    before = content(tmp_path / "index")
    shutil.copy(picture_run.pictures[9], folder / "3.png")
    assert update().encoded == 1
    assert not np.array_equal(content(tmp_path / "index")["3.png"], before["3.png"])


def test_a_moved_folder_is_the_same_index(update, run, folder, tmp_path):
    update()
    moved = folder.rename(tmp_path / "elsewhere")
    with pytest.raises(ResgError, match="--root DIR"):
        resg.Index(tmp_path / "index", run)
    index = resg.Index(tmp_path / "index", run, root=moved)
    assert index.search(image=moved / "5.png", k=1).hits[0].path == moved / "5.png"
    report = update_index(tmp_path / "index", run, [PictureSource.of_folder(moved)])
    assert numbers(report) == (0, 8, 0)
    assert resg.Index(tmp_path / "index", run).root == moved


def test_bad_pictures_are_listed_and_tried_again_when_they_change(update, folder, picture_run):
    (folder / "bad.jpg").write_bytes(b"not a picture")
    (folder / "empty.png").touch()
    report = update()
    assert report.items["images"] == 8
    assert set(report.failures) == {"bad.jpg", "empty.png"}
    assert "is empty" in report.failures["empty.png"]
    report = update()
    assert (report.encoded, set(report.failures)) == (0, {"bad.jpg", "empty.png"})
    shutil.copy(picture_run.pictures[9], folder / "bad.jpg")
    report = update()
    assert (report.encoded, set(report.failures)) == (1, {"empty.png"})
    assert set(update(retry_failed=True).failures) == {"empty.png"}


def test_an_index_of_bad_pictures_alone_is_refused(run, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"not a picture")
    with pytest.raises(ResgError, match=r"nothing could be indexed: bad\.jpg"):
        update_index(tmp_path / "index", run, [PictureSource.of_folder(tmp_path / "photos")])


def test_what_was_encoded_before_an_interruption_is_kept(update, monkeypatch):
    monkeypatch.setattr(build, "BATCH", 2)

    def interrupt(progress):
        if progress.done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(IndexingInterrupted, match="4 of 8 new images"):
        update(on_progress=interrupt)
    assert numbers(update()) == (4, 4, 0)


def test_what_was_committed_before_a_crash_is_kept(update, monkeypatch, tmp_path):
    monkeypatch.setattr(build, "BATCH", 2)
    monkeypatch.setattr(build, "COMMIT_SECONDS", 0.0)

    class KilledError(Exception):
        pass

    def kill(progress):
        if progress.done >= 4:
            raise KilledError

    with pytest.raises(KilledError):
        update(on_progress=kill)
    (tmp_path / "index" / "images-00099").mkdir()  # of a change that was not committed
    assert numbers(update()) == (4, 4, 0)
    named = {
        segment.path.name for segment in IndexFolder.read(tmp_path / "index").segments("images")
    }
    assert {path.name for path in (tmp_path / "index").glob("images-*")} == named


def test_small_segments_are_merged_and_full_ones_are_not(update, folder, picture_run, monkeypatch):
    monkeypatch.setattr(build, "SEGMENT_ITEMS", 4)
    index = folder.parent / "index"
    update()
    assert [s.count for s in IndexFolder.read(index).segments("images")] == [4, 4]
    full = IndexFolder.read(index).segments("images")[0].path
    shutil.copy(picture_run.pictures[9], folder / "a.png")
    update()
    shutil.copy(picture_run.pictures[10], folder / "b.png")
    update()
    segments = IndexFolder.read(index).segments("images")
    assert [s.count for s in segments] == [4, 4, 2]
    assert segments[0].path == full
    assert len(content(index)) == 10


def test_an_index_in_steps_is_the_index_in_one(update, run, folder, picture_run, tmp_path):
    update()
    for number in (9, 10, 11):
        shutil.copy(picture_run.pictures[number], folder / f"{number}.png")
        update()
    (folder / "5.png").unlink()
    update()
    update_index(tmp_path / "fresh", run, [PictureSource.of_folder(folder)])
    stepwise = resg.Index(tmp_path / "index", run).search("a red circle", k=20).hits
    fresh = resg.Index(tmp_path / "fresh", run).search("a red circle", k=20).hits
    assert [hit.id for hit in stepwise] == [hit.id for hit in fresh]
    np.testing.assert_allclose([h.score for h in stepwise], [h.score for h in fresh], atol=2e-3)


def test_shards_and_their_captions_are_indexed(run, picture_run, tmp_path):
    sources = [
        ShardSource.open(run, picture_run.shards, kind, "train") for kind in ("images", "captions")
    ]
    report = update_index(tmp_path / "index", run, sources)
    regions, captions = run.regions("train"), run.captions("train")
    assert report.items == {"images": len(regions), "captions": len(captions)}
    assert numbers(update_index(tmp_path / "index", run, sources))[:2] == (
        0,
        len(regions) + len(captions),
    )
    hits = resg.Index(tmp_path / "index", run).search("a red circle", k=3).hits
    assert [hit.path for hit in hits] == [None] * 3


def test_captions_of_a_file_are_indexed_and_bad_ones_listed(run, picture_run, tmp_path):
    lines = ["1.png#0\ta red circle", "1.png#1\t???", "2.png#0\ta blue square"]
    (tmp_path / "captions.tsv").write_text("\n".join(lines))
    report = update_index(
        tmp_path / "index", run, [CaptionSource.of_file(tmp_path / "captions.tsv")]
    )
    assert report.items == {"images": 0, "captions": 2}
    assert set(report.failures) == {"1.png#1"}
    index = resg.Index(tmp_path / "index", run)
    answer = index.search(image=picture_run.pictures[0], find="captions")
    assert {hit.text for hit in answer.hits} == {"a red circle", "a blue square"}
    with pytest.raises(ResgError, match="has no images"):
        index.search("a red circle")


def test_an_index_of_another_run_is_refused(update, picture_run, folder, tmp_path):
    update()
    shutil.copytree(picture_run.folder, tmp_path / "other")
    resg_weights = tmp_path / "other" / "best.safetensors"
    changed = bytearray(resg_weights.read_bytes())
    changed[-1] ^= 1
    resg_weights.write_bytes(changed)
    other = resg.load(tmp_path / "other", device="cpu")
    with pytest.raises(ResgError, match="its weights are others"):
        update_index(tmp_path / "index", other, [PictureSource.of_folder(folder)])
    with pytest.raises(ResgError, match="its weights are others"):
        resg.Index(tmp_path / "index", other)


def test_a_run_that_was_moved_is_named(update, tmp_path, picture_run):
    update()
    path = tmp_path / "index" / "index.json"
    told = json.loads(path.read_text())
    told["matcher"]["run"] = str(tmp_path / "gone")
    path.write_text(json.dumps(told))
    with pytest.raises(ResgError, match="--run RUN"):
        resg.Index(tmp_path / "index", device="cpu")
    assert len(resg.Index(tmp_path / "index", picture_run.folder, device="cpu")) == 8


def test_a_folder_that_is_missing_or_a_file_is_refused(folder, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        PictureSource.of_folder(tmp_path / "nothing")
    with pytest.raises(ResgError, match="--image FILE"):
        PictureSource.of_folder(folder / "3.png")
