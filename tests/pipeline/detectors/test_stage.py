import dataclasses

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from marked import MarkedPixels, marked_info
from PIL import Image

from pipeline.cli import main
from pipeline.detectors import specification, stage
from pipeline.detectors.drawing import save_picture
from pipeline.detectors.exporting import export_network
from pipeline.detectors.specification import open_detector
from pipeline.detectors.stage import RegionStage
from pipeline.errors import SettingsError
from pipeline.manifests.picture_folder import folder_images
from pipeline.shards.reader import ShardReader
from pipeline.shards.records import Failure


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def extract(scenes, out, *more):
    return run(
        "extract-regions", "--manifest", scenes / "scenes.yaml", "--root", scenes, "--out", out,
        "--workers", 1, *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def shards(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("shards") / "out"
    result = extract(scenes, out)
    assert result.exit_code == 0, result.output
    return out


def test_scenes_need_no_detector_named(shards, embedded):
    reader = ShardReader(shards, "regions")
    assert len(reader) == 20
    record = reader[0]
    regions = len(record.boxes)
    defaults = embedded.info.selection
    assert defaults.min_regions <= regions <= defaults.max_regions
    assert record.features.shape == (regions, embedded.info.feature_width)
    assert record.features.dtype == np.float16
    assert record.image_size == (224, 224)
    assert list(reader.names["labels"]) == list(embedded.info.classes)
    assert list(reader.names["attributes"]) == list(embedded.info.attributes)
    assert reader.settings["detector"] == "scenes"
    assert "generated scenes" in reader.settings["domain"]
    assert record.labels.max() < len(embedded.info.classes)
    assert record.attributes.max() < len(embedded.info.attributes)


def test_the_shards_tell_the_weights_and_another_count_is_not_mixed_in(scenes, shards, embedded):
    reader = ShardReader(shards, "regions")
    assert embedded.fingerprint["weights"] in str(reader.fingerprint)
    result = extract(scenes, shards, "--regions", 36)
    assert result.exit_code != 0
    assert "regions" in result.output
    assert "--overwrite" in result.output


def test_workers_do_not_show_in_the_data(scenes, shards, tmp_path):
    out = tmp_path / "two"
    result = extract(scenes, out, "--workers", 2, "--shard-size", 7)
    assert result.exit_code == 0, result.output
    one, two = ShardReader(shards, "regions"), ShardReader(out, "regions")
    for image_id in one.ids:
        ours, theirs = one[one.index(image_id)], two[two.index(image_id)]
        assert np.array_equal(ours.boxes, theirs.boxes)
        assert np.array_equal(ours.features, theirs.features)


def test_a_fixed_count_and_float32(scenes, tmp_path):
    result = extract(
        scenes, tmp_path / "out", "--regions", 12, "--dtype", "float32", "--split", "val"
    )
    assert result.exit_code == 0, result.output
    reader = ShardReader(tmp_path / "out", "regions")
    assert {len(reader[place].boxes) for place in range(len(reader))} == {12}
    assert reader[0].features.dtype == np.float32


@pytest.fixture
def odd_pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, size in (("dot", (1, 1)), ("line", (4000, 1)), ("blank", (300, 200))):
        Image.new("RGB", size, (128, 120, 110)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def small_photos(tmp_path, monkeypatch):
    """A small network in place of the embedded detector for photographs."""
    path = tmp_path / "photos.onnx"
    info = marked_info(name="photos", domain="photographs")
    export_network(MarkedPixels().eval(), info, path)
    files = {"photos": path, "scenes": specification.embedded_file("scenes")}
    monkeypatch.setattr(specification, "embedded_file", files.get)
    return path


def test_a_folder_gets_the_detector_for_photographs(small_photos, odd_pictures, tmp_path):
    Image.new("RGB", (30, 20), "white").save(odd_pictures / "white.png")
    out = tmp_path / "out"
    result = run(
        "extract-regions", "--images", odd_pictures, "--out", out, "--workers", 1,
        "--on-error", "skip",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "detector: photos, for photographs" in result.output
    assert "warning" not in result.output
    assert ShardReader(out, "regions").settings["domain"] == "photographs"
    assert "photos for photographs" in run("info", out).output


def test_an_installation_without_the_detector_for_photographs_is_told(
    odd_pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(specification, "embedded_file", lambda name: tmp_path / "absent.onnx")
    result = run("extract-regions", "--images", odd_pictures, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "'photos' is not in this installation" in result.output
    assert "--detector" in result.output


def test_a_manifest_names_its_own_detector(small_photos, scenes, tmp_path):
    manifest = yaml.safe_load((scenes / "scenes.yaml").read_text())
    assert manifest["detector"] == "scenes"

    def extract_with(named, out, *more):
        content = {key: value for key, value in manifest.items() if key != "detector"} | named
        file = tmp_path / f"{out}.yaml"
        file.write_text(yaml.safe_dump(content))
        return run(
            "extract-regions", "--manifest", file, "--root", scenes, "--out", tmp_path / out,
            "--workers", 1, "--on-error", "skip", "--split", "val", *more,
        ).output  # fmt: skip

    assert "detector: scenes, for generated" in extract_with({"detector": "scenes"}, "own")
    own = {"detector": f"onnx:{small_photos}"}
    assert "detector: photos, for photographs" in extract_with(own, "file")
    assert "detector: scenes, for generated" in extract_with(own, "asked", "--detector", "scenes")
    assert "detector: photos, for photographs" in extract_with({}, "none")


def test_the_detector_of_scenes_warns_once_of_other_pictures(odd_pictures, tmp_path):
    result = run(
        "extract-regions", "--images", odd_pictures, "--out", tmp_path / "out", "--detector",
        "scenes", "--workers", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.output.count("3 of the 3 checked pictures are not generated scenes") == 1
    assert "--detector photos" in result.output
    shown = run(
        "show-regions", odd_pictures / "blank.png", "--detector", "scenes", "--out",
        tmp_path / "shown.png",
    )  # fmt: skip
    assert "not generated scenes" in shown.output


def test_the_detector_of_scenes_does_not_warn_of_scenes(scenes, tmp_path):
    assert "warning" not in extract(scenes, tmp_path / "out").output


def test_a_fixed_count_that_the_detector_cannot_reach_is_told(scenes, tmp_path):
    out = tmp_path / "out"
    result = extract(scenes, out, "--regions", 100)
    assert result.exit_code == 0, result.output
    reader = ShardReader(out, "regions")
    assert max(len(record.boxes) for record in reader) < 100
    expected = "20 images have fewer than 100 regions, because the detector proposed no more"
    assert expected in result.output
    assert "the next best regions were added" not in result.output


def test_where_nothing_is_found_the_next_best_fill_up_and_are_counted(odd_pictures, tmp_path):
    out = tmp_path / "out"
    result = run(
        "extract-regions", "--images", odd_pictures, "--out", out, "--detector", "scenes",
        "--workers", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "the next best regions were added" in result.output
    reader = ShardReader(out, "regions")
    assert len(reader) == 3
    assert len(reader[reader.index("blank.png")].boxes) == 2


def test_a_damaged_picture_is_left_out_and_listed(odd_pictures, tmp_path):
    (odd_pictures / "torn.png").write_bytes((odd_pictures / "blank.png").read_bytes()[:60])
    command = ["extract-regions", "--images", odd_pictures, "--out", tmp_path / "out"]
    command += ["--detector", "scenes", "--workers", 1]
    stopped = run(*command, "--on-error", "stop")
    assert stopped.exit_code == 1
    assert "torn.png" in stopped.output
    skipped = run(*command)
    assert skipped.exit_code == 0, skipped.output
    assert skipped.stdout.splitlines()[-1].startswith("1 of 4 images failed and were skipped")
    assert len(ShardReader(tmp_path / "out", "regions")) == 3


def test_decoding_and_selecting_beside_a_gpu_change_nothing(odd_pictures, scenes, monkeypatch):
    (odd_pictures / "torn.png").write_bytes((odd_pictures / "blank.png").read_bytes()[:60])
    items = folder_images(odd_pictures) + folder_images(scenes / "images")
    on_cpu = RegionStage.create("scenes")
    # the detector stays on the CPU, while the stage feeds it as it feeds a GPU
    monkeypatch.setattr(
        stage, "open_detector", lambda spec, device, **more: open_detector(spec, **more)
    )
    as_gpu = dataclasses.replace(on_cpu, device="cuda", batch=3)
    for one, two in zip(on_cpu.process(items, 1), as_gpu.process(items, 1), strict=True):
        if isinstance(one, Failure):
            assert one == two
        else:
            assert one.image_id == two.image_id
            assert np.array_equal(one.boxes, two.boxes)
            assert np.array_equal(one.features, two.features)


def test_show_regions_writes_a_picture(scenes, tmp_path):
    picture = sorted((scenes / "images").iterdir())[0]
    out = tmp_path / "shown.png"
    result = run("show-regions", picture, "--detector", "scenes", "--regions", 36, "--out", out)
    assert result.exit_code == 0, result.output
    assert "36 regions" in result.output
    assert "found by scenes, for generated scenes" in result.output
    with Image.open(out) as page:
        assert page.format == "PNG"
        assert page.width > page.height == 1000


def test_an_exported_detector_is_not_exported_again(tmp_path):
    result = run("export-detector", "--detector", "scenes", "--out", tmp_path / "x.onnx")
    assert result.exit_code == 2
    assert "exported already" in result.output


@pytest.mark.parametrize(("name", "format"), [("a.jpg", "JPEG"), ("new/b.webp", "WEBP")])
def test_the_ending_says_the_format_of_a_drawn_picture(tmp_path, name, format):
    save_picture(Image.new("RGB", (8, 6)), tmp_path / name)
    with Image.open(tmp_path / name) as picture:
        assert picture.format == format


@pytest.mark.parametrize("name", ["a", "a.txt", "a.h5"])
def test_a_picture_is_not_written_under_the_name_of_another_file(tmp_path, name):
    with pytest.raises(SettingsError, match=r"such as regions\.png"):
        save_picture(Image.new("RGB", (8, 6)), tmp_path / name)
