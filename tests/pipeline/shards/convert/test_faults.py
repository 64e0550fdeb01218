"""Unsound input: every error names the file, the row and the field, and nothing is left behind."""

import gzip
import io
import pickle
import tracemalloc

import numpy as np
import pytest

from pipeline.errors import DataError, SettingsError
from pipeline.shards.convert import butd_tsv, lxmert_tsv
from pipeline.shards.convert.exporting import export_regions
from pipeline.shards.convert.importing import import_regions
from pipeline.shards.convert.source import ReadOptions
from pipeline.shards.convert.tsv import MAX_ROW_BYTES, encode
from pipeline.shards.reader import ShardReader


@pytest.fixture
def lxmert_file(tmp_path, make_image):
    """Write an LXMERT file of four rows, the third of them changed field by field."""

    def write(changes=None, name="x.tsv"):
        path = tmp_path / name
        lxmert_tsv.write([make_image(f"image {n}") for n in range(4)], path, 4)
        lines = path.read_bytes().splitlines(keepends=True)
        fields = dict(zip(lxmert_tsv.COLUMNS, lines[2].rstrip().split(b"\t"), strict=True))
        fields |= changes or {}
        lines[2] = b"\t".join(v for v in fields.values() if v is not None) + b"\r\n"
        path.write_bytes(b"".join(lines))
        return path

    return write


def with_value(array, place, value):
    changed = np.array(array)
    changed[place] = value
    return changed


BOXES = np.array([[0, 0, 9, 9], [1, 1, 5, 5], [2, 2, 3, 3]], np.float32)
FEATURES = np.ones((3, 8), np.float32)
STOP = ReadOptions(skip_faulty=False)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("features", encode(FEATURES, "<f4")[:-4], "expected 3 x 7 values"),
        ("features", encode(np.ones((3, 7)), "<f4"), "7 wide, 8 in the rows before"),
        ("features", b"####" + encode(FEATURES, "<f4")[4:], "expected base64"),
        ("features", b"", "none for 3 regions"),
        ("features", encode(with_value(FEATURES, (1, 0), np.nan), "<f4"), "region 1 holds NaN"),
        ("features", encode(with_value(FEATURES, (2, 0), np.inf), "<f4"), "region 2 holds NaN"),
        ("features", None, "expected 10 columns"),
        ("num_boxes", b"4", "as num_boxes says"),
        ("num_boxes", b"three", "expected an integer, found 'three'"),
        ("num_boxes", b"-3", "expected an integer, found '-3'"),
        ("img_w", b"0", "an image cannot be 0 x 120 pixels"),
        ("img_id", b"image 0", "is already used in"),
        ("img_id", b"", "expected an id"),
        ("img_id", b"\xff", "expected UTF-8"),
        ("img_id", b'"image', "quotes"),
        ("boxes", encode(BOXES[:2], "<f4"), "expected 3 x 4 values of float32"),
        ("boxes", encode(with_value(BOXES, (1, 2), 101.5), "<f4"), "box 1 is (1, 1, 101.5, 5)"),
        ("boxes", encode(with_value(BOXES, (2, 0), -2), "<f4"), "inside the image of 100 x 120"),
        ("boxes", encode(with_value(BOXES, (0, 0), 10), "<f4"), "expected x0 < x1"),
        ("boxes", encode(with_value(BOXES, (0, 0), np.nan), "<f4"), "region 0 holds NaN"),
        ("objects_id", encode(np.array([1, 2, -1]), "<i8"), "expected class indices"),
        ("objects_id", encode(np.array([1, 2, 2**31]), "<i8"), "expected class indices"),
        ("objects_conf", encode(np.ones(2), "<f4"), "expected 3 values of float32"),
        ("attrs_conf", encode(np.array([0, np.nan, 0]), "<f4"), "region 1 holds NaN"),
    ],
)
def test_faulty_row_is_named(field, value, says, lxmert_file, tmp_path, run):
    path = lxmert_file({field: value})
    code, output = run(
        "import-regions", "--format", "lxmert-tsv", "--input", path, "--out", tmp_path / "shards",
        "--shard-size", 1, "--on-error", "stop",
    )  # fmt: skip
    assert code == 1
    error = output[output.index("Error:") :]
    assert f"{path}, row 3" in error
    assert says in error
    if value is not None and b'"' not in value and "as num_boxes" not in says:
        assert field in error
    assert len(error.strip().splitlines()) <= 3
    assert "Traceback" not in output
    assert list((tmp_path / "shards").iterdir()) == []  # rows 1 and 2 left nothing behind


def test_box_may_leave_the_image_by_a_pixel(lxmert_file, tmp_path):
    path = lxmert_file({"boxes": encode(with_value(BOXES, (1, 2), 100.9), "<f4")})
    assert import_regions(path, tmp_path / "shards", "lxmert-tsv").images == 4


def test_other_format_is_recognised_by_its_columns(lxmert_file, tmp_path):
    with pytest.raises(DataError, match=r"row 1: expected 6 columns .* found 10"):
        import_regions(lxmert_file(), tmp_path / "shards", "butd-tsv")


def test_id_twice_in_two_files_of_a_folder(tmp_path, make_image):
    (tmp_path / "in").mkdir()
    for part, ids in enumerate(["ab", "cb"]):
        images = [make_image(name) for name in ids]
        butd_tsv.write(images, tmp_path / "in" / f"x.tsv.{part}", 2)
    with pytest.raises(
        DataError, match=r"x\.tsv\.1, row 2.*'b' is already used in .*x\.tsv\.0, row 2"
    ):
        import_regions(tmp_path / "in", tmp_path / "shards", "butd-tsv", options=STOP)
    report = import_regions(tmp_path / "in", tmp_path / "shards", "butd-tsv")
    (failed,) = report.failures.items()
    assert failed[0].endswith("x.tsv.1, row 2")
    assert "'b' is already used in" in failed[1]


@pytest.mark.parametrize("cut", [30, -20])
def test_cut_gzip_file(cut, lxmert_file, tmp_path):
    path = lxmert_file()
    packed = tmp_path / "x.tsv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes())[:cut])
    with pytest.raises(DataError, match="gzip data ends or breaks"):
        import_regions(packed, tmp_path / "shards", "lxmert-tsv")


def test_row_without_end_is_refused_early(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.shards.convert.tsv.MAX_ROW_BYTES", 1 << 16)
    assert MAX_ROW_BYTES > 1 << 16
    path = tmp_path / "zeros.tsv"
    path.write_bytes(bytes(1 << 20))
    with pytest.raises(DataError, match=r"row 1: no line end in 65,536 bytes"):
        import_regions(path, tmp_path / "shards", "butd-tsv")


@pytest.mark.parametrize("format_name", ["scan", "butd-tsv", "lxmert-tsv", "npz"])
@pytest.mark.parametrize("kind", ["missing", "empty file", "empty folder", "garbage", "half"])
def test_no_such_input(format_name, kind, tmp_path, make_image, write_shards):
    path = tmp_path / "input"
    if kind == "empty file":
        path.touch()
    elif kind == "empty folder":
        path.mkdir()
    elif kind == "garbage":
        path.write_bytes(b"nothing of the kind\n" * 9)
    elif kind == "half":
        write_shards(tmp_path / "s", [make_image("a"), make_image("b")])
        name = {"scan": "a_ims.npy", "npz": "npz"}.get(format_name, "a.tsv")
        export_regions(tmp_path / "s", tmp_path / name, format_name)
        whole = tmp_path / name / "b.npz" if format_name == "npz" else tmp_path / name
        path.write_bytes(whole.read_bytes()[:-80])
    with pytest.raises(DataError, match="input"):
        import_regions(path, tmp_path / "shards", format_name)
    assert not list((tmp_path / "shards").glob("*")) or kind == "half"


def test_half_precision_overflow_names_the_image(tmp_path, make_image):
    image = make_image("bright", features=np.full((3, 8), 1e5, np.float32))
    lxmert_tsv.write([image], tmp_path / "x.tsv", 1)
    with pytest.raises(DataError, match=r"'bright': features are not finite in float16.*float32"):
        import_regions(tmp_path / "x.tsv", tmp_path / "shards", "lxmert-tsv")
    import_regions(tmp_path / "x.tsv", tmp_path / "shards", "lxmert-tsv", dtype="float32")


class TestPickles:
    """A pickle is loaded only for those who trust it."""

    class Bomb:
        """Fails the test when it is unpickled."""

        def __reduce__(self):
            return pytest.fail, ("a pickle was loaded",)

    def test_untrusted_npz_is_not_loaded(self, tmp_path, run):
        bomb = np.array(self.Bomb(), dtype=object)
        np.savez(tmp_path / "a.npz", x=FEATURES, bbox=BOXES, info=bomb)
        code, output = run(
            "import-regions", "--format", "npz", "--input", tmp_path / "a.npz",
            "--out", tmp_path / "shards",
        )  # fmt: skip
        assert code == 1
        assert "'info' is pickled" in output
        assert "--trust-pickle" in output

    def test_untrusted_scan_array_is_not_loaded(self, tmp_path, run):
        array = np.array([self.Bomb(), self.Bomb()], dtype=object)
        np.save(tmp_path / "a_ims.npy", array, allow_pickle=True)
        code, output = run(
            "import-regions", "--format", "scan", "--input", tmp_path / "a_ims.npy",
            "--out", tmp_path / "shards",
        )  # fmt: skip
        assert code == 1
        assert "--trust-pickle" in output

    def test_bare_pickle_is_not_loaded(self, tmp_path):
        (tmp_path / "a_ims.npy").write_bytes(pickle.dumps(self.Bomb()))
        for options in (ReadOptions(), ReadOptions(trust_pickle=True)):
            with pytest.raises(DataError, match=r"expected a complete, uncompressed \.npy"):
                import_regions(tmp_path / "a_ims.npy", tmp_path / "s", "scan", options=options)

    def test_trusted_scan_array_of_objects(self, tmp_path, read_shards):
        images = np.empty(2, object)
        images[:] = [FEATURES, FEATURES[:2] * 2]
        np.save(tmp_path / "a_ims.npy", images, allow_pickle=True)
        import_regions(
            tmp_path / "a_ims.npy", tmp_path / "s", "scan", options=ReadOptions(trust_pickle=True)
        )
        assert [image.features.shape for image in read_shards(tmp_path / "s")] == [(3, 8), (2, 8)]


class TestOutput:
    """A folder of shards holds one import, whole."""

    def test_same_import_again_does_nothing(self, lxmert_file, tmp_path, run):
        arguments = (
            "import-regions", "--format", "lxmert-tsv", "--input", lxmert_file(),
            "--out", tmp_path / "s",
        )  # fmt: skip
        assert run(*arguments)[0] == 0
        before = {p: p.stat().st_mtime_ns for p in (tmp_path / "s").iterdir()}
        code, output = run(*arguments)
        assert code == 0
        assert "Already imported" in output
        assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "s").iterdir()}

    def test_other_run_is_refused_with_what_differs(self, lxmert_file, tmp_path, run):
        arguments = (
            "import-regions", "--format", "lxmert-tsv", "--input", lxmert_file(),
            "--out", tmp_path / "s",
        )  # fmt: skip
        assert run(*arguments)[0] == 0
        code, output = run(*arguments, "--dtype", "float32")
        assert code == 1
        assert "settings.dtype: 'float32' here, 'float16' there" in output
        assert "Choose another --out" in output

    def test_half_done_import_is_not_read_and_is_made_anew(
        self, lxmert_file, tmp_path, read_shards, monkeypatch
    ):
        path, out = lxmert_file(), tmp_path / "s"

        def killed(*_args, **_settings):  # as SIGKILL would: nothing is tidied up
            raise SystemExit

        for moment in ("write_shard", "_move"):
            with monkeypatch.context() as patch:
                patch.setattr(f"pipeline.shards.convert.importing.{moment}", killed)
                patch.setattr("shutil.rmtree", lambda *_, **__: None)
                with pytest.raises(SystemExit):
                    import_regions(path, out, "lxmert-tsv", shard_size=1)
            with pytest.raises(DataError, match="unfinished import"):
                ShardReader(out, "regions")
            import_regions(path, out, "lxmert-tsv", shard_size=1)
            assert len(read_shards(out)) == 4
            for file in out.iterdir():
                file.unlink()

    def test_half_moved_import_is_made_anew(self, lxmert_file, tmp_path, read_shards):
        path, out = lxmert_file(), tmp_path / "s"
        import_regions(path, out, "lxmert-tsv", shard_size=1)
        (out / "regions.partial").mkdir()
        (out / "regions-00003.json").rename(out / "regions.partial" / "regions-00003.json")
        with pytest.raises(DataError, match="unfinished import"):
            ShardReader(out, "regions")
        assert import_regions(path, out, "lxmert-tsv", shard_size=1).is_new
        assert len(read_shards(out)) == 4

    def test_full_disk_leaves_nothing(self, lxmert_file, tmp_path, monkeypatch, run):
        def full(*_args, **_settings):
            raise OSError(28, "No space left on device")

        path = lxmert_file()
        monkeypatch.setattr("pipeline.shards.convert.importing.write_shard", full)
        code, output = run(
            "import-regions", "--format", "lxmert-tsv", "--input", path, "--out", tmp_path / "s"
        )
        assert code == 1
        assert "No space left" in output
        assert list((tmp_path / "s").iterdir()) == []

    def test_captions_in_the_folder_stay(self, lxmert_file, tmp_path):
        (tmp_path / "s").mkdir()
        (tmp_path / "s" / "captions-00000.json").write_text("{}")
        import_regions(lxmert_file(), tmp_path / "s", "lxmert-tsv")
        assert (tmp_path / "s" / "captions-00000.json").read_text() == "{}"

    def test_what_was_imported_verifies(self, lxmert_file, tmp_path, run):
        import_regions(lxmert_file(), tmp_path / "s", "lxmert-tsv")
        assert run("verify", tmp_path / "s", "--full")[0] == 0
        (tmp_path / "s" / "regions.partial").mkdir()
        code, output = run("verify", tmp_path / "s")
        assert code == 1
        assert "unfinished" in output


class TestExport:
    """An export says what the shards lack, and replaces nothing."""

    def test_missing_attributes_are_named(self, tmp_path, make_image, write_shards, run):
        images = [make_image(name, attributes=None, attribute_scores=None) for name in "ab"]
        write_shards(tmp_path / "s", images)
        code, output = run(
            "export-regions", tmp_path / "s", "--format", "lxmert-tsv", "--out", tmp_path / "x.tsv"
        )
        assert code == 1
        assert "lacks attributes, attribute_scores (image a)" in output
        assert "can be exported to scan, butd-tsv, npz" in output
        assert list(tmp_path.glob("x.tsv*")) == []

    def test_what_is_lost_is_said(self, tmp_path, make_image, write_shards, run):
        write_shards(tmp_path / "s", [make_image("a")])
        code, output = run(
            "export-regions", tmp_path / "s", "--format", "butd-tsv", "--out", tmp_path / "x.tsv"
        )
        assert code == 0
        assert "butd-tsv has no place for labels, scores, attributes, attribute_scores" in output

    @pytest.mark.parametrize("name", ["x.tsv", "x"])
    def test_existing_output_is_kept(self, name, tmp_path, make_image, write_shards):
        write_shards(tmp_path / "s", [make_image("a")])
        (tmp_path / name).write_text("mine")
        with pytest.raises(DataError, match="exists already"):
            export_regions(tmp_path / "s", tmp_path / name, "npz" if name == "x" else "butd-tsv")
        assert (tmp_path / name).read_text() == "mine"

    def test_uneven_images_do_not_fit_scan(self, tmp_path, make_image, write_shards):
        write_shards(tmp_path / "s", [make_image("a", 3), make_image("b", 2)])
        with pytest.raises(DataError, match="b has 2, the first image 3"):
            export_regions(tmp_path / "s", tmp_path / "x_ims.npy", "scan")
        assert list(tmp_path.glob("x*")) == []

    def test_scan_names_its_arrays(self, tmp_path, make_image, write_shards):
        write_shards(tmp_path / "s", [make_image("a")])
        with pytest.raises(SettingsError, match=r"_ims\.npy"):
            export_regions(tmp_path / "s", tmp_path / "x.npy", "scan")

    def test_id_that_is_no_file_name(self, tmp_path, make_image, write_shards):
        write_shards(tmp_path / "s", [make_image("../a")])
        with pytest.raises(DataError, match="cannot be the name of a file"):
            export_regions(tmp_path / "s", tmp_path / "x", "npz")
        assert not (tmp_path / "x").exists()


def test_memory_is_bounded_by_a_shard(tmp_path, make_image):
    def images():
        return (make_image(str(number), num_regions=36, width=256) for number in range(400))

    path = tmp_path / "x.tsv"
    lxmert_tsv.write(images(), path, 400)
    import_regions(path, tmp_path / "warm", "lxmert-tsv", shard_size=200)
    tracemalloc.start()
    try:
        import_regions(path, tmp_path / "s", "lxmert-tsv", shard_size=10)
        export_regions(tmp_path / "s", tmp_path / "y.tsv", "lxmert-tsv")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 15e6
    assert peak < 4e6  # ten images in half precision, a row and the read buffer


def test_reading_starts_before_the_file_ends(make_image, tmp_path, monkeypatch):
    """The first image comes out after one row was read, not after all."""
    path = tmp_path / "x.tsv"
    lxmert_tsv.write([make_image(str(number)) for number in range(50)], path, 50)

    class Counting(io.BytesIO):
        lines = 0

        def readline(self, *size):
            Counting.lines += 1
            return super().readline(*size)

    monkeypatch.setattr(
        "pipeline.shards.convert.tsv.open_input", lambda path: Counting(path.read_bytes())
    )
    records = iter(lxmert_tsv.read(path, ReadOptions())[0].records)
    assert next(records).image_id == "0"
    assert Counting.lines == 1
