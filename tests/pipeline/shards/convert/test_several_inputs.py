"""Inputs of several splits come into one folder; faulty images are skipped or end the import."""

import gzip
import json

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.shards.convert import butd_tsv, importing, lxmert_tsv, npz
from pipeline.shards.convert.importing import import_regions
from pipeline.shards.convert.source import ReadOptions
from pipeline.shards.reader import ShardReader
from pipeline.shards.sidecar import find_sidecars, read_sidecar

SPLITS = {"train": "abc", "val": "de", "test": "f"}
FORMATS = {"butd-tsv": butd_tsv, "lxmert-tsv": lxmert_tsv, "npz": npz}


@pytest.fixture(params=FORMATS)
def form(request):
    return request.param


@pytest.fixture
def inputs(tmp_path, make_image, form):
    """An input for each split, by split."""
    paths = {}
    for split, ids in SPLITS.items():
        paths[split] = tmp_path / (split if form == "npz" else f"{split}.tsv.gz")
        FORMATS[form].write([make_image(id_) for id_ in ids], paths[split], len(ids))
    return paths


def take(path, out, form, split=None, **more):
    options = ReadOptions(split=split, trust_pickle=True, skip_faulty=more.pop("skip", True))
    return import_regions(path, out, form, options=options, shard_size=2, **more)


def test_three_splits_come_into_one_folder(inputs, tmp_path, form, run):
    out = tmp_path / "s"
    for split, path in inputs.items():
        command = ("import-regions", "--format", form, "--input", path, "--out", out)
        code, output = run(*command, "--split", split, "--trust-pickle")
        assert code == 0, output
    for split, ids in SPLITS.items():
        assert ShardReader(out, "regions", split).ids == list(ids)
    assert run("verify", out, "--full")[0] == 0


def test_repeating_one_of_them_does_nothing(inputs, tmp_path, form):
    for split in ("train", "val", "test"):
        assert take(inputs[split], tmp_path / "s", form, split).is_new
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").iterdir()}
    for split in ("val", "train"):
        again = take(inputs[split], tmp_path / "s", form, split)
        assert (again.is_new, again.images) == (False, len(SPLITS[split]))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "s").iterdir()} == before


def test_an_image_comes_once(inputs, tmp_path, form):
    take(inputs["train"], tmp_path / "s", form, "train")
    with pytest.raises(DataError, match=r"'a' is in regions-00000\.h5 of split train already"):
        take(inputs["train"], tmp_path / "s", form, "val")
    assert ShardReader(tmp_path / "s", "regions").ids == list("abc")


def test_another_precision_or_format_is_another_run(inputs, tmp_path, form):
    take(inputs["train"], tmp_path / "s", form, "train")
    with pytest.raises(DataError, match=r"settings\.dtype: 'float32' here, 'float16' there"):
        take(inputs["val"], tmp_path / "s", form, "val", dtype="float32")


def test_a_failed_import_leaves_the_earlier_ones(inputs, tmp_path, form, make_image):
    take(inputs["train"], tmp_path / "s", form, "train")
    bad = tmp_path / "bad"
    features = np.full((3, 8), np.nan, np.float32)
    FORMATS[form].write([make_image("x"), make_image("y", features=features)], bad, 2)
    with pytest.raises(DataError, match="NaN or infinity"):
        take(bad, tmp_path / "s", form, "val", skip=False)
    assert ShardReader(tmp_path / "s", "regions").ids == list("abc")
    assert take(inputs["val"], tmp_path / "s", form, "val").is_new


def test_a_killed_import_is_not_mixed_with_the_next(inputs, tmp_path, form, monkeypatch):
    out = tmp_path / "s"
    take(inputs["train"], out, form, "train")
    take(inputs["val"], out, form, "val")
    (out / "regions.partial").mkdir()  # killed while the sidecars were moved: two lists of shards
    last = find_sidecars(out)[-1]
    assert read_sidecar(last).split == "val"
    last.with_suffix(".h5").rename(out / "regions.partial" / f"{last.stem}.h5")
    last.rename(out / "regions.partial" / last.name)
    with pytest.raises(DataError, match="unfinished import"):
        ShardReader(out, "regions")
    take(inputs["test"], out, form, "test")
    assert ShardReader(out, "regions").ids == list("abcf")
    take(inputs["val"], out, form, "val")
    assert sorted(ShardReader(out, "regions").ids) == list("abcdef")


def test_faulty_images_are_skipped_and_listed(tmp_path, form, make_image, run):
    images = [make_image(id_) for id_ in "abcdefg"]
    for row, changes in {
        1: {"features": np.full((3, 8), np.nan, np.float32)},
        2: {"boxes": np.full((3, 4), 5, np.float32)},
        4: {"image_size": (0, 7)},
        6: {"features": np.ones((3, 9), np.float32)},
    }.items():
        images[row] = make_image("abcdefg"[row], **changes)
    path = tmp_path / "in"
    FORMATS[form].write(images, path, 7)
    with pytest.raises(DataError, match="NaN or infinity"):
        take(path, tmp_path / "s", form, skip=False)
    report = take(path, tmp_path / "s", form)
    assert (report.images, list(report.failures)) == (3, ["b", "c", "e", "g"])
    assert "field boxes" in report.failures["c"] or "field bbox" in report.failures["c"]
    assert ShardReader(tmp_path / "s", "regions").ids == ["a", "d", "f"]
    listed = [read_sidecar(path).failures for path in find_sidecars(tmp_path / "s")]
    assert {id_ for failures in listed for id_ in failures} == set("bceg")
    code, output = run("import-regions", "--format", form, "--input", path, "--out",
                       tmp_path / "t", "--trust-pickle")  # fmt: skip
    assert code == 0
    last = output.splitlines()[-1]
    assert "4 of 7 images failed and were skipped; pipeline info --failed" in last
    assert all(f"\n{id_}: " in output for id_ in "bceg")
    _, listed = run("info", tmp_path / "t", "--failed", "--json")
    assert [failure["id"] for failure in json.loads(listed)["failures"]] == list("bceg")
    assert "images and captions failed" in run("verify", tmp_path / "t")[1]


def test_an_import_of_a_mended_input_replaces_that_of_its_split(tmp_path, form, make_image, run):
    val, train, mended = tmp_path / "val", tmp_path / "train", tmp_path / "mended"
    faulty = make_image("b", features=np.full((3, 8), np.nan, np.float32))
    FORMATS[form].write([make_image("v")], val, 1)
    FORMATS[form].write([make_image("a"), faulty], train, 2)
    FORMATS[form].write([make_image("a"), make_image("b")], mended, 2)
    out = tmp_path / "s"
    take(val, out, form, "val")
    assert list(take(train, out, form, "train").failures) == ["b"]
    with pytest.raises(DataError, match="--overwrite"):
        take(mended, out, form, "train")
    report = take(mended, out, form, "train", overwrite=True)
    assert (report.images, report.failures) == (2, {})
    assert ShardReader(out, "regions", "train").ids == ["a", "b"]
    assert ShardReader(out, "regions", "val").ids == ["v"]
    assert run("verify", out, "--full")[0] == 0


def interrupt(monkeypatch, calls):
    """Lets an import write so many shards, then raises as Ctrl-C does; gives the files written."""
    written = []
    real = importing.write_shard

    def write_shard(path, *arguments, **settings):
        if len(written) == calls:
            raise KeyboardInterrupt
        written.append(path.name)
        return real(path, *arguments, **settings)

    monkeypatch.setattr(importing, "write_shard", write_shard)
    return written


def test_an_interrupted_import_goes_on_after_its_finished_shards(
    tmp_path, form, make_image, monkeypatch, run
):
    images = [make_image(id_) for id_ in "abcdefg"]
    images[1] = make_image("b", features=np.full((3, 8), np.nan, np.float32))
    path, out = tmp_path / "in", tmp_path / "s"
    FORMATS[form].write(images, path, 7)
    with monkeypatch.context() as patch:
        interrupt(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            take(path, out, form)
    with pytest.raises(DataError, match="unfinished import"):
        ShardReader(out, "regions")
    written = interrupt(monkeypatch, 9)
    report = take(path, out, form)
    assert written == ["regions-00002.h5", "regions-00003.h5"]
    assert (report.images, list(report.failures)) == (6, ["b"])
    assert take(path, tmp_path / "at-once", form) == report
    for shard in out.iterdir():
        assert shard.read_bytes() == (tmp_path / "at-once" / shard.name).read_bytes()
    assert run("verify", out, "--full")[0] == 0


def test_finished_shards_of_other_settings_are_not_kept(
    tmp_path, form, make_image, inputs, monkeypatch
):
    out = tmp_path / "s"
    with monkeypatch.context() as patch:
        interrupt(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            take(inputs["train"], out, form)
    take(inputs["train"], out, form, "train", dtype="float32")
    reader = ShardReader(out, "regions", "train")
    assert reader.ids == ["a", "b", "c"]
    assert reader[0].features.dtype == np.float32


@pytest.mark.parametrize("form", ["butd-tsv", "lxmert-tsv"])
def test_faulty_rows_are_skipped(tmp_path, form, make_image):
    path = tmp_path / "in.tsv"
    FORMATS[form].write([make_image(id_) for id_ in "abcd"], path, 4)
    a, b, c, d, _ = path.read_bytes().split(b"\r\n")
    cut_base64, other_columns, no_number = b[:-7], b"b2\t3\t4", c.replace(b"\t3\t", b"\tx\t")
    rows = [a, cut_base64, other_columns, no_number, a, d, b"\xff\xfe\t" + d]
    path.write_bytes(b"".join(row + b"\r\n" for row in rows))
    report = take(path, tmp_path / "s", form)
    assert ShardReader(tmp_path / "s", "regions").ids == ["a", "d"]
    wheres = [f"{path}, row {row}" for row in (3, 5, 7)]
    assert set(report.failures) == {"b", "c", *wheres}


def test_ids_of_a_file_by_order_and_by_name(inputs, tmp_path, form, run):
    (tmp_path / "order.txt").write_bytes("\ufeffA.jpg\r\nB.jpg\r\nC.jpg\r\n".encode())
    (tmp_path / "names.tsv").write_text("c\tC.jpg\na\tA.jpg\nz\tZ.jpg\nb\tB.jpg\n")
    for ids in ("order.txt", "names.tsv"):
        command = ("import-regions", "--format", form, "--input", inputs["train"], "--ids")
        code, output = run(*command, tmp_path / ids, "--out", tmp_path / ids[:5], "--trust-pickle")
        assert code == 0, output
        assert ShardReader(tmp_path / ids[:5], "regions").ids == ["A.jpg", "B.jpg", "C.jpg"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("A\nB\n", "has 2 ids, but there are more images"),
        ("A\nB\nC\nD\n", "has 4 ids, but there are 3 images"),
        ("A\nB\nA\n", "'A' stands there 2 times"),
        ("A\n\nC\n", "expected an id on each line"),
        ("", "expected an id on each line"),
        ("a\tA\nb\nc\tC\n", "expected an id on each line"),
        ("a\tA\nb\tB\n", "no new id for the image 'c'"),
    ],
)
def test_a_file_of_ids_that_does_not_fit(inputs, tmp_path, form, lines, said, run):
    (tmp_path / "ids").write_text(lines)
    code, output = run("import-regions", "--format", form, "--input", inputs["train"], "--ids",
                       tmp_path / "ids", "--out", tmp_path / "s", "--trust-pickle")  # fmt: skip
    assert (code, said in output) == (1, True), output
    assert list((tmp_path / "s").glob("regions*")) == []


@pytest.mark.parametrize("names", ["x\ny\nz\n", "a\tx\nb\ty\nc\tz\n"])
def test_skipped_images_have_their_new_ids(tmp_path, make_image, names):
    features = np.full((3, 8), np.nan, np.float32)
    images = [make_image("a"), make_image("b", features=features), make_image("c")]
    lxmert_tsv.write(images, tmp_path / "in.tsv", 3)
    (tmp_path / "ids").write_text(names)
    options = ReadOptions(ids=tmp_path / "ids", skip_faulty=True)
    report = import_regions(tmp_path / "in.tsv", tmp_path / "s", "lxmert-tsv", options=options)
    assert list(report.failures) == ["y"]
    assert ShardReader(tmp_path / "s", "regions").ids == ["x", "z"]


@pytest.mark.parametrize("form", ["butd-tsv", "lxmert-tsv"])
def test_rows_of_other_writers_are_read(tmp_path, form, make_image):
    FORMATS[form].write([make_image("a"), make_image("b")], tmp_path / "plain.tsv", 2)
    plain = (tmp_path / "plain.tsv").read_bytes()
    columns = "\t".join(FORMATS[form].COLUMNS).encode()
    cells = [line.split(b"\t") for line in plain.splitlines()]
    literal = [[b"b'%s'" % cell if len(cell) > 9 else cell for cell in row] for row in cells]
    variants = {
        "lines": plain.replace(b"\r\n", b"\n").rstrip(b"\n"),
        "header": columns + b"\r\n" + plain,
        "literal": b"\n".join(b"\t".join(row) for row in literal),
        "gzip": gzip.compress(plain),
    }
    expected = take(tmp_path / "plain.tsv", tmp_path / "plain", form)
    features = [image.features for image in ShardReader(tmp_path / "plain", "regions")]
    for name, content in variants.items():
        (tmp_path / f"{name}.tsv").write_bytes(content)
        assert take(tmp_path / f"{name}.tsv", tmp_path / name, form).images == expected.images
        found = [image.features for image in ShardReader(tmp_path / name, "regions")]
        np.testing.assert_array_equal(found, features)


def test_hidden_files_beside_the_input_are_no_input(inputs, tmp_path, form):
    folder = tmp_path / "folder"
    ending = ".npz" if form == "npz" else ".tsv.gz"
    for hidden in ("__MACOSX", ".cache"):
        (folder / hidden).mkdir(parents=True)
        (folder / hidden / f"a{ending}").write_bytes(b"Mac OS X")
    (folder / f"._a{ending}").write_bytes(b"Mac OS X")
    inputs["train"].rename(folder / ("files" if form == "npz" else "a.tsv.gz"))
    assert take(folder, tmp_path / "s", form).images == 3


def test_an_input_without_a_sound_image_is_an_error(tmp_path, make_image):
    path = tmp_path / "in.tsv"
    features = np.full((3, 8), np.nan, np.float32)
    butd_tsv.write([make_image("a", features=features)], path, 1)
    with pytest.raises(DataError, match=r"all 1 images are faulty.*NaN"):
        take(path, tmp_path / "s", "butd-tsv")
    path.write_bytes(gzip.compress(b"x" * 40)[:20])
    with pytest.raises(
        DataError, match="the gzip data ends or breaks"
    ):  # the rest of the file is lost
        take(path, tmp_path / "s", "butd-tsv")
