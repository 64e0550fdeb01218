"""A folder of pictures: every format is found, links are followed, nothing is lost in silence."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import DataError
from pipeline.images import load_image
from pipeline.manifests.picture_folder import folder_images, read_picture_folder


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def ids(folder):
    return [item.image_id for item in folder_images(folder)]


def test_a_folder_of_pictures_is_sorted_and_deep(tmp_path):
    for name in ["b.JPG", "a.png", "deep/er/c.jpeg", "notes.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    items = folder_images(tmp_path)
    assert [item.image_id for item in items] == ["a.png", "b.JPG", "deep/er/c.jpeg"]
    assert items[2].path == tmp_path / "deep/er/c.jpeg"


def test_a_name_that_no_id_can_be_made_of(tmp_path):
    Path(str(tmp_path / "caf\udce9.jpg")).touch()
    with pytest.raises(DataError, match=r"caf\\udce9"):
        folder_images(tmp_path)


@pytest.mark.parametrize(
    "hidden",
    ["._a.jpg", "__MACOSX/._a.jpg", "__MACOSX/a.jpg", ".thumbnails/a.png", ".hidden.jpg",
     ".Trashes/1/a.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "$RECYCLE.BIN/$R1.jpg",
     "System Volume Information/a.jpg", "lost+found/a.jpg", "Thumbs.db", "desktop.ini",
     ".DS_Store", "deep/.DS_Store", "Icon\r"],
)  # fmt: skip
def test_hidden_files_and_those_of_systems_are_no_pictures(tmp_path, hidden):
    touch(tmp_path, "a.jpg", "deep/b.jpg", hidden)
    found = read_picture_folder(tmp_path)
    assert [item.image_id for item in found.images] == ["a.jpg", "deep/b.jpg"]
    assert found.notice().startswith(f"passed over in {tmp_path}: hidden or of the system: 1 (")


def test_a_hidden_folder_that_is_named_is_read(tmp_path):
    touch(tmp_path, ".photos/a.jpg")
    assert ids(tmp_path / ".photos") == ["a.jpg"]


FORMATS = ["jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "webp", "bmp", "dib", "gif", "tif",
           "tiff", "ppm", "pgm", "pnm", "tga", "ico", "pcx", "jp2", "j2k", "avif",
           "sgi"]  # fmt: skip


def test_every_format_that_pillow_decodes_is_found_and_read(tmp_path):
    picture = Image.fromarray(np.full((16, 16, 3), 90, np.uint8))
    for suffix in FORMATS:
        picture.save(tmp_path / f"a.{suffix}")
        picture.save(tmp_path / f"B.{suffix.upper()}")
    items = folder_images(tmp_path)
    assert len(items) == 2 * len(FORMATS)
    assert {load_image(item.path).shape for item in items} == {(16, 16, 3)}


def test_what_is_passed_over_is_counted_by_reason(tmp_path):
    touch(tmp_path, "a.jpg", "1.txt", "2.TXT", "3.txt", "4.txt", "README", "x.eps", "x.h5", "b.mp4")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    found = read_picture_folder(tmp_path)
    assert [item.image_id for item in found.images] == ["a.jpg"]
    assert found.passed_over == {
        ".txt": ["1.txt", "2.TXT", "3.txt", "4.txt"],
        "without an ending": ["README"],
        ".mp4": ["b.mp4"],
        "broken link": ["gone.jpg"],
        "neither file nor folder": ["pipe.jpg"],
        ".eps": ["x.eps"],
        ".h5": ["x.h5"],
    }
    assert ".txt: 4 (1.txt, 2.TXT, 3.txt, ...); without an ending: 1 (README)" in found.notice()
    assert "\n" not in found.notice()


def test_a_folder_of_pictures_alone_gives_no_notice(tmp_path):
    touch(tmp_path, "a.jpg")
    assert read_picture_folder(tmp_path).notice() == ""


def test_a_folder_without_pictures_says_what_it_holds(tmp_path):
    touch(tmp_path, "a.txt")
    with pytest.raises(DataError, match=r"no picture in .*\.jpg(.|\n)*\.txt: 1 \(a\.txt\)"):
        folder_images(tmp_path)


def test_a_linked_folder_and_a_linked_picture_are_read(tmp_path):
    touch(tmp_path, "elsewhere/far.jpg", "elsewhere/deep/er.png", "pictures/a.jpg")
    (tmp_path / "pictures/linked").symlink_to("../elsewhere")
    (tmp_path / "pictures/b.jpg").symlink_to("a.jpg")
    assert ids(tmp_path / "pictures") == [
        "a.jpg", "b.jpg", "linked/deep/er.png", "linked/far.jpg"]  # fmt: skip
    (tmp_path / "all").symlink_to("pictures")
    assert len(ids(tmp_path / "all")) == 4


@pytest.mark.parametrize("target", [".", "..", "../..", "deep/..", "deep/../deep/.."])
def test_a_link_that_leads_back_is_not_followed(tmp_path, target):
    touch(tmp_path, "top/pictures/a.jpg", "top/pictures/deep/b.jpg", "top/other.jpg")
    (tmp_path / "top/pictures/loop").symlink_to(target)
    found = read_picture_folder(tmp_path / "top/pictures")
    assert [item.image_id for item in found.images] == ["a.jpg", "deep/b.jpg"]
    assert found.passed_over == {"link to a folder around it": ["loop"]}


def test_links_in_a_circle_outside_the_folder_end(tmp_path):
    touch(tmp_path, "one/1.jpg", "two/2.jpg", "pictures/a.jpg")
    (tmp_path / "one/to-two").symlink_to("../two")
    (tmp_path / "two/to-one").symlink_to("../one")
    (tmp_path / "pictures/link").symlink_to("../one")
    (tmp_path / "pictures/itself").symlink_to("itself")
    found = read_picture_folder(tmp_path / "pictures")
    assert [item.image_id for item in found.images] == [
        "a.jpg", "link/1.jpg", "link/to-two/2.jpg"]  # fmt: skip
    assert found.passed_over == {
        "broken link": ["itself"],
        "linked folder that is read already": ["link/to-two/to-one"],
    }


def test_of_two_ways_to_a_folder_the_real_one_gives_the_ids(tmp_path):
    touch(tmp_path, "real/a.jpg")
    (tmp_path / "alias").symlink_to("real")
    found = read_picture_folder(tmp_path)
    assert [item.image_id for item in found.images] == ["real/a.jpg"]
    assert found.passed_over == {"linked folder that is read already": ["alias"]}


def test_a_single_heic_picture_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.images.picture_suffixes", lambda: frozenset({".jpg"}))
    touch(tmp_path, "a.heic")
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (item,) = folder_images(tmp_path / "a.heic")
    with pytest.raises(DataError, match=r"a\.heic needs the package pillow-heif: pip install"):
        load_image(item.path)


def test_a_single_picture_of_any_ending(tmp_path):
    touch(tmp_path, "a.jpg", "scan.dat", ".hidden")
    for name in ("a.jpg", "scan.dat", ".hidden"):
        (item,) = folder_images(tmp_path / name)
        assert (item.image_id, item.path) == (name, tmp_path / name)
    with pytest.raises(DataError, match="no such folder or file"):
        folder_images(tmp_path / "b.jpg")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    touch(tmp_path, "a.jpg", "shut/b.jpg")
    (tmp_path / "shut").chmod(0)
    try:
        assert read_picture_folder(tmp_path).passed_over == {"folder that cannot be read": ["shut"]}
    finally:
        (tmp_path / "shut").chmod(0o700)


@pytest.mark.parametrize("suffix", ["heic", "HEIF", "hif"])
def test_heic_pictures_are_read_with_their_extra_or_named(tmp_path, monkeypatch, suffix):
    touch(tmp_path, "a.jpg", f"b.{suffix}")
    monkeypatch.setattr("pipeline.manifests.picture_folder.picture_suffixes", lambda: {".jpg"})
    assert "to read it pip install 'resg[heif]': 1 (b." in read_picture_folder(tmp_path).notice()


def test_heic_pictures_are_read(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heif is not installed")
    pillow_heif.register_heif_opener()
    Image.fromarray(np.full((16, 24, 3), 90, np.uint8)).save(tmp_path / "a.heic")
    (item,) = folder_images(tmp_path)
    assert np.abs(load_image(item.path).astype(int) - 90).max() < 4
