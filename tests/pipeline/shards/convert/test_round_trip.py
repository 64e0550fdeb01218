"""Import then export, and export then import, are the identity for every format."""

import gzip
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.shards.convert.exporting import export_regions
from pipeline.shards.convert.formats import FORMATS
from pipeline.shards.convert.importing import import_regions
from pipeline.shards.convert.source import ReadOptions

FILE_NAMES = st.from_regex(r"[A-Za-z0-9_:#\- é][A-Za-z0-9_:#\- é.]{0,20}", fullmatch=True)
FEW = settings(max_examples=25, deadline=None)


def there_and_back(images, format_name, name, write_shards, read_shards, **options):
    """The images after an export and an import, and what a second export wrote."""
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        write_shards(folder / "shards", images)
        (folder / "1").mkdir()
        (folder / "2").mkdir()
        export_regions(folder / "shards", folder / "1" / name, format_name)
        if format_name == "scan":
            options["ids"] = folder / "1" / "train_ids.txt"
        import_regions(
            folder / "1" / name,
            folder / "back",
            format_name,
            options=ReadOptions(**options),
            dtype="float32",
            shard_size=3,
        )
        export_regions(folder / "back", folder / "2" / name, format_name)
        first = {p.name: p.read_bytes() for p in (folder / "1").rglob("*") if p.is_file()}
        second = {p.name: p.read_bytes() for p in (folder / "2").rglob("*") if p.is_file()}
        return _copies(read_shards(folder / "back")), first, second


def _copies(images):
    """The images with arrays of their own, as the folder of their shards goes away."""
    for image in images:
        for name, value in vars(image).items():
            if isinstance(value, np.ndarray):
                object.__setattr__(image, name, value.copy())
    return images


@pytest.mark.parametrize("format_name", ["butd-tsv", "lxmert-tsv"])
@given(data=st.data(), name=st.sampled_from(["x.tsv", "x.tsv.gz"]))
@FEW
def test_tsv(format_name, name, data, image_lists, write_shards, read_shards, assert_same):
    images = data.draw(image_lists())
    assume(any(len(image.features) for image in images))
    back, first, second = there_and_back(images, format_name, name, write_shards, read_shards)
    assert_same(back, images, FORMATS[format_name].keeps)
    assert first == second  # bytes of every line
    assert (first[name][:2] == b"\x1f\x8b") == name.endswith(".gz")


@given(data=st.data())
@FEW
def test_npz(data, image_lists, write_shards, read_shards, assert_same):
    images = data.draw(image_lists(ids=FILE_NAMES))
    back, first, second = there_and_back(
        images, "npz", "x", write_shards, read_shards, trust_pickle=True
    )
    # Files are read in the order of their names.
    assert_same(back, sorted(images, key=lambda image: f"{image.image_id}.npz"))
    assert first.keys() == second.keys()


@given(data=st.data())
@FEW
def test_scan(data, image_lists, write_shards, read_shards, assert_same):
    num_regions = data.draw(st.integers(1, 4))
    images = data.draw(image_lists(None, num_regions, num_regions))
    assume(all(image.image_id == image.image_id.strip() for image in images))
    back, first, second = there_and_back(images, "scan", "train_ims.npy", write_shards, read_shards)
    assert_same(back, images, ())
    assert all(image.boxes is None and image.scores is None for image in back)
    assert first == second


@pytest.mark.real_data
class TestReferenceFile:
    """The ten photographs of the reference detector, in LXMERT's format."""

    file = Path("../shared/data/butd_reference/train2014_obj36.tsv.gz")

    @pytest.fixture(autouse=True)
    def _needs_data(self):
        if not self.file.exists():
            pytest.skip(f"{self.file} is absent")

    def test_float32_gives_every_byte_back(self, run, tmp_path):
        code, output = run(
            "import-regions", "--format", "lxmert-tsv", "--input", self.file,
            "--out", tmp_path / "shards", "--dtype", "float32", "--shard-size", 4,
        )  # fmt: skip
        assert code == 0, output
        out = tmp_path / "back.tsv"
        code, output = run(
            "export-regions", tmp_path / "shards", "--format", "lxmert-tsv", "--out", out
        )
        assert code == 0, output
        assert out.read_bytes() == gzip.decompress(self.file.read_bytes())

    def test_float16_rounds_features_and_scores_alone(self, tmp_path, read_shards):
        import_regions(self.file, tmp_path / "half", "lxmert-tsv")
        import_regions(self.file, tmp_path / "full", "lxmert-tsv", dtype="float32")
        half, full = read_shards(tmp_path / "half"), read_shards(tmp_path / "full")
        assert len(half) == 10
        for rounded, exact in zip(half, full, strict=True):
            assert rounded.features.dtype == np.float16
            for name in ("features", "scores", "attribute_scores"):
                expected = getattr(exact, name).astype(np.float16)
                np.testing.assert_array_equal(getattr(rounded, name), expected)
            for name in ("boxes", "labels", "attributes"):
                np.testing.assert_array_equal(getattr(rounded, name), getattr(exact, name))
