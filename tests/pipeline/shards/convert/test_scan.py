"""SCAN's arrays and captions: layouts, ids, and that captions and regions join."""

import numpy as np
import pytest

from pipeline.errors import DataError, SettingsError
from pipeline.shards.convert.exporting import export_regions
from pipeline.shards.convert.importing import import_regions
from pipeline.shards.convert.source import ReadOptions
from pipeline.shards.records import ParsedCaption
from pipeline.shards.sidecar import read_sidecar, shard_path
from pipeline.shards.writer import write_shard


@pytest.fixture
def scan_folder(tmp_path):
    """Write `<name>_ims.npy` and `<name>_caps.txt`; gives the folder and the distinct features."""

    def write(name="train", num_images=4, copies=1, captions=True):
        folder = tmp_path / "precomp"
        folder.mkdir(exist_ok=True)
        rng = np.random.default_rng([num_images, len(name)])
        features = rng.normal(size=(num_images, 3, 5)).astype(np.float32)
        np.save(folder / f"{name}_ims.npy", np.repeat(features, copies, axis=0))
        if captions:
            lines = [f"Image {n} , caption {k} .\n" for n in range(num_images) for k in range(5)]
            (folder / f"{name}_caps.txt").write_text("".join(lines), encoding="utf-8")
        return folder, features

    return write


@pytest.mark.parametrize("copies", [1, 5])
@pytest.mark.parametrize("captions", [True, False])
def test_images_are_stored_once(copies, captions, scan_folder, tmp_path, read_shards, run):
    folder, features = scan_folder(copies=copies, captions=captions)
    code, output = run(
        "import-regions", "--format", "scan", "--input", folder / "train_ims.npy",
        "--out", tmp_path / "s", "--dtype", "float32", "--shard-size", 3,
    )  # fmt: skip
    assert code == 0
    images = read_shards(tmp_path / "s", "train")
    assert [image.image_id for image in images] == ["train:0", "train:1", "train:2", "train:3"]
    np.testing.assert_array_equal([image.features for image in images], features)
    assert output.count("Notice:") == (2 if copies > 1 else 1)
    assert "hold no boxes" in output
    assert ("repeats each image 5 times: 20 rows, 4 images stored" in output) == (copies > 1)


def test_almost_repeated_rows_are_images_of_their_own(scan_folder, tmp_path):
    folder, _ = scan_folder(copies=5, captions=False)
    array = np.load(folder / "train_ims.npy")
    array[19, 2, 4] += 1
    np.save(folder / "train_ims.npy", array)
    assert import_regions(folder / "train_ims.npy", tmp_path / "s", "scan").images == 20


def test_five_captions_a_row_show_that_equal_rows_are_five_images(tmp_path):
    np.save(tmp_path / "a_ims.npy", np.zeros((5, 3, 4), np.float32))
    (tmp_path / "a_caps.txt").write_text("a dog\n" * 25, encoding="utf-8")
    assert import_regions(tmp_path / "a_ims.npy", tmp_path / "s", "scan").images == 5


@pytest.mark.parametrize("copies", [1, 5])
@pytest.mark.parametrize("ids", [None, "ids.txt"])
def test_captions_of_a_manifest_join_their_images(copies, ids, scan_folder, tmp_path, read_shards):
    caption_files = pytest.importorskip(
        "pipeline.manifests.caption_files", reason="manifests have not landed"
    )
    folder, features = scan_folder(copies=copies)
    if ids:
        ids = folder / ids
        ids.write_text("".join(f"{name}.jpg\n" for name in "abcd" for _ in range(5)))
    captions = caption_files.read_captions(
        folder / "train_caps.txt", "scan-txt", split="train", ids=ids
    )
    import_regions(
        folder / "train_ims.npy", tmp_path / "s", "scan", options=ReadOptions(ids=ids),
        dtype="float32",
    )  # fmt: skip
    features_of = {image.image_id: image.features for image in read_shards(tmp_path / "s")}
    assert len(captions) == len(features_of) == 4
    for number, image in enumerate(captions):
        assert image.captions[1] == f"Image {number} , caption 1 ."
        np.testing.assert_array_equal(features_of[image.image_id], features[number])


def test_a_folder_gives_its_splits_and_dev_is_val(scan_folder, tmp_path, read_shards):
    for name, num_images in (("train", 4), ("dev", 2), ("test", 3)):
        folder, _ = scan_folder(name, num_images)
    import_regions(folder, tmp_path / "s", "scan", shard_size=2)
    assert [len(read_shards(tmp_path / "s", split)) for split in ("train", "val", "test")] == [
        4, 2, 3,
    ]  # fmt: skip
    assert [image.image_id for image in read_shards(tmp_path / "s", "val")] == ["val:0", "val:1"]
    import_regions(folder, tmp_path / "one", "scan", options=ReadOptions(split="val"))
    assert len(read_shards(tmp_path / "one")) == 2
    with pytest.raises(SettingsError, match=r"no array of split dev .* train_ims"):
        import_regions(folder, tmp_path / "none", "scan", options=ReadOptions(split="dev"))


class TestIds:
    """`--ids`: one an image, or one a caption."""

    @pytest.mark.parametrize(("copies", "repeat"), [(1, 1), (1, 5), (5, 1), (5, 5)])
    def test_ids_are_used(self, copies, repeat, scan_folder, tmp_path, run, read_shards):
        folder, _ = scan_folder(copies=copies)
        lines = [f"{name}.jpg\n" for name in "abcd" for _ in range(repeat)]
        (tmp_path / "ids.txt").write_text("".join(lines), encoding="utf-8")
        code, output = run(
            "import-regions", "--format", "scan", "--input", folder / "train_ims.npy",
            "--out", tmp_path / "s", "--ids", tmp_path / "ids.txt",
        )  # fmt: skip
        assert code == 0, output
        ids = [image.image_id for image in read_shards(tmp_path / "s")]
        assert ids == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]

    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_a_byte_order_mark_is_passed_over(self, mark, scan_folder, tmp_path, read_shards):
        (tmp_path / "ids.txt").write_bytes(f"{mark}a.jpg\r\nb\r\nc\r\nd\r\n".encode())
        array = scan_folder(captions=False)[0] / "train_ims.npy"
        import_regions(array, tmp_path / "s", "scan", options=ReadOptions(ids=tmp_path / "ids.txt"))
        assert [i.image_id for i in read_shards(tmp_path / "s")] == ["a.jpg", "b", "c", "d"]

    @pytest.mark.parametrize(
        ("ids", "says"),
        [
            ("a\nb\n", "expected 4 ids, .* found 2"),
            ("a\nb\na\nc\n", "the id 'a' stands there 2 times"),
        ],
    )
    def test_wrong_ids(self, ids, says, scan_folder, tmp_path):
        folder, _ = scan_folder()
        (tmp_path / "ids.txt").write_text(ids, encoding="utf-8")
        with pytest.raises(DataError, match=says):
            import_regions(
                folder / "train_ims.npy", tmp_path / "s", "scan",
                options=ReadOptions(ids=tmp_path / "ids.txt"),
            )  # fmt: skip


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((4, 5), np.float32), r"found float32 \[4, 5\]"),
        (np.zeros((4, 3, 5), np.int64), "found int64"),
        (np.zeros((0, 3, 5), np.float32), r"found float32 \[0, 3, 5\]"),
        (np.full((4, 3, 5), np.nan, np.float32), "row 0, field array: region 0 holds NaN"),
    ],
)
def test_unsound_arrays(array, says, tmp_path):
    np.save(tmp_path / "a_ims.npy", array)
    with pytest.raises(DataError, match=says):
        import_regions(tmp_path / "a_ims.npy", tmp_path / "s", "scan")


def test_other_float_types_and_orders(tmp_path, read_shards):
    features = np.arange(24).reshape(4, 3, 2)
    for number, array in enumerate(
        (features.astype("<f2"), features.astype(">f8"), np.asfortranarray(features.astype("f4")))
    ):
        np.save(tmp_path / f"{number}_ims.npy", array)
        import_regions(tmp_path / f"{number}_ims.npy", tmp_path / f"s{number}", "scan")
        found = [image.features for image in read_shards(tmp_path / f"s{number}")]
        np.testing.assert_array_equal(found, features)


@pytest.mark.parametrize("num_captions", [0, 19, 3])
def test_captions_of_another_split(num_captions, scan_folder, tmp_path):
    folder, _ = scan_folder()
    (folder / "train_caps.txt").write_text("one\n" * num_captions, encoding="utf-8")
    with pytest.raises(DataError, match=f"found {num_captions} for 4 images"):
        import_regions(folder / "train_ims.npy", tmp_path / "s", "scan")


class TestExportedCaptions:
    """Caption shards in the folder go along, five an image, in the order of the images."""

    @pytest.fixture
    def shards(self, tmp_path, make_image, write_shards):
        def write(captions_per_image, ending=""):
            write_shards(tmp_path / "s", [make_image(name) for name in "abc"])
            # In another order than the images, as captions are parsed in shards of their own.
            captions = [
                ParsedCaption(f"{name}{ending}#{k}", name + ending, f"{name} number\n{k}")
                for name in "cab"
                for k in range(captions_per_image)
            ]
            write_shard(
                shard_path(tmp_path / "s", "captions", 0),
                "captions",
                captions,
                settings={},
                fingerprint={},
                split="train",
            )
            return tmp_path / "s"

        return write

    @pytest.mark.parametrize("ending", ["", ".jpg"])
    def test_five_lines_an_image(self, shards, tmp_path, run, ending):
        out = tmp_path / "train_ims.npy"
        code, output = run("export-regions", shards(6, ending), "--format", "scan", "--out", out)
        assert code == 0, output
        assert "3 images have more than five captions" in output
        lines = (tmp_path / "train_caps.txt").read_text(encoding="utf-8").splitlines()
        assert lines == [f"{name} number {k}" for name in "abc" for k in range(5)]
        assert (tmp_path / "train_ids.txt").read_text(encoding="utf-8") == "a\nb\nc\n"

    def test_too_few_are_refused(self, shards, tmp_path):
        folder = shards(4)
        with pytest.raises(DataError, match="a has 4"):
            export_regions(folder, tmp_path / "train_ims.npy", "scan")
        assert list(tmp_path.glob("train*")) == []


def test_notices_stand_in_the_sidecar(scan_folder, tmp_path):
    folder, _ = scan_folder(copies=5)
    import_regions(folder, tmp_path / "s", "scan")
    notices = read_sidecar(tmp_path / "s" / "regions-00000.json").notices
    assert len(notices) == 2
    assert "hold no boxes" in notices[0]
