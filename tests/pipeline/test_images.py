"""Pictures of every kind become 8-bit RGB, or an error that says what is wrong with them."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin, TiffImagePlugin, TiffTags

from pipeline.errors import DataError
from pipeline.images import MAX_MEGAPIXELS, load_image
from pipeline.options import max_megapixels_option


@pytest.fixture
def pixels():
    """A smooth picture, which JPEG keeps nearly as it is: red to the right, green down."""
    rows, columns = np.mgrid[0:40, 0:60]
    return np.stack([columns * 4, rows * 6, np.full_like(rows, 90)], axis=-1).astype(np.uint8)


def test_a_jpeg_is_decoded(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    decoded = load_image(tmp_path / "a.jpg")
    assert (decoded.shape, decoded.dtype) == ((40, 60, 3), np.uint8)
    assert decoded.flags.writeable
    assert decoded.flags.c_contiguous
    assert np.abs(decoded.astype(int) - pixels).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, pixels, orientation):
    stored = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels),
        7: pixels.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(pixels, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), pixels)


ORIENTATION = (0x0112, 3, struct.pack("<H", 6))


def exif_of(*entries):
    """An EXIF block of (tag, type, bytes) entries as they are, which Pillow would not write."""
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
    head = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries))
    place = 8 + 2 + 12 * len(entries) + 4
    directory = tail = b""
    for tag, kind, data in sorted(entries):
        value = data.ljust(4, b"\0")
        if len(data) > 4:
            value, tail = struct.pack("<I", place + len(tail)), tail + data
        directory += struct.pack("<HHI", tag, kind, len(data) // sizes[kind]) + value
    return head + directory + bytes(4) + tail


ODD_TAGS = {
    "resolution as text": (0x011A, 2, b"72\0"),
    "resolution of nothing": (0x011B, 5, bytes(8)),
    "resolution unit as bytes": (0x0128, 7, b"\2"),
    "width as text": (0x0100, 2, b"300\0"),
    "negative bits per sample": (0x0102, 8, b"\xff\xff"),
    "compression as text": (0x0103, 2, b"JPEG\0"),
    "ycbcr positioning as text": (0x0213, 2, b"1\0"),
    "software as a number": (0x0131, 9, b"\xff\xff\xff\xff"),
    "date as a NaN": (0x0132, 12, b"\0\0\0\0\0\0\xf8\x7f"),
    "EXIF pointer beyond the end": (0x8769, 4, b"\xff\xff\xff\x7f"),
    "GPS pointer as text": (0x8825, 2, b"abc\0"),
    "GPS pointer that is negative": (0x8825, 9, b"\xff\xff\xff\xff"),
    "a maker's tag": (0xEA1C, 7, b"\1\2\3"),
}


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("odd", ODD_TAGS.values(), ids=ODD_TAGS)
def test_a_picture_is_turned_whatever_its_other_exif_tags_hold(tmp_path, pixels, name, odd):
    Image.fromarray(pixels).save(tmp_path / name, exif=exif_of(ORIENTATION, odd), quality=95)
    decoded = load_image(tmp_path / name)
    assert np.abs(decoded.astype(int) - np.rot90(pixels, -1)).max() < 24


@pytest.mark.parametrize(("tag", "value"), [(0x8825, -1), (0x8769, -1), (0x02BC, 7)])
def test_a_tiff_is_turned_whatever_its_other_tags_hold(tmp_path, pixels, tag, value):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x0112] = 6
    tags.tagtype[tag] = TiffTags.SIGNED_LONG
    tags[tag] = value
    Image.fromarray(pixels).save(tmp_path / "a.tif", tiffinfo=tags)
    np.testing.assert_array_equal(load_image(tmp_path / "a.tif"), np.rot90(pixels, -1))


@pytest.mark.parametrize(
    ("kind", "data", "is_turned"),
    [(1, b"\6", True), (2, b"6\0", True), (4, b"\6\0\0\0", True), (5, b"\6\0\0\0\1\0\0\0", True),
     (3, b"\0\0", False), (3, b"\7\7", False), (2, b"up\0", False), (5, bytes(8), False),
     (12, b"\0\0\0\0\0\0\xf8\x7f", False)],
)  # fmt: skip
def test_an_orientation_of_another_type_counts_if_it_is_one(
    tmp_path, pixels, kind, data, is_turned
):
    exif = exif_of((0x0112, kind, data))
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert load_image(tmp_path / "a.png").shape == ((60, 40, 3) if is_turned else (40, 60, 3))


@pytest.mark.parametrize(
    "odd",
    [
        struct.pack("<HHII", 0x010E, 2, 100_000, 0x7FFFFFFF),  # text beyond the end
        struct.pack("<HHII", 0x010F, 77, 1, 0),  # no such type
        struct.pack("<HHII", 0x8769, 4, 1, 8),  # the EXIF directory is the directory itself
    ],
)
def test_pillow_does_not_warn_of_metadata_that_it_cannot_read(tmp_path, pixels, odd):
    # pytest makes errors of warnings
    turned = struct.pack("<HHII", 0x0112, 3, 1, 6)
    directory = struct.pack("<H", 2) + b"".join(sorted((turned, odd))) + bytes(4)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=b"II*\0\x08\0\0\0" + directory)
    assert load_image(tmp_path / "a.png").shape == (60, 40, 3)


def test_two_orientations_are_one(tmp_path, pixels):
    exif = b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 2, 6, 6, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert load_image(tmp_path / "a.png").shape == (60, 40, 3)


def test_exif_that_is_none_leaves_the_pixels_as_they_are(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=b"Exif\0\0garbage")
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), pixels)


def test_cmyk_becomes_rgb(tmp_path, pixels):
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "a.jpg", quality=98)
    decoded = load_image(tmp_path / "a.jpg")
    assert np.abs(decoded.astype(int) - pixels).max() < 16


def test_greyscale_fills_three_channels(tmp_path, pixels):
    Image.fromarray(pixels[..., 0]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), np.repeat(pixels[..., :1], 3, 2))


def test_sixteen_bits_become_eight_over_the_whole_range(tmp_path):
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 1, 127, 255]


def test_sixteen_bit_rgb_keeps_its_colours(tmp_path):
    (tmp_path / "a.png").write_bytes(rgb16_png([[(0, 32768, 65535), (65535, 0, 257)]]))
    assert load_image(tmp_path / "a.png")[0].tolist() == [[0, 128, 255], [255, 0, 1]]


def png_chunk(kind, content, *, is_sound=True):
    checksum = zlib.crc32(kind + content) if is_sound else 0
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def rgb16_png(rows):
    raw = b"".join(b"\0" + b"".join(struct.pack(">3H", *colour) for colour in row) for row in rows)
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            png_chunk(b"IHDR", header),
            png_chunk(b"IDAT", zlib.compress(raw)),
            png_chunk(b"IEND", b""),
        )
    )


MEGABYTES = b"x" * (3 << 20)
LARGE = zlib.compress(MEGABYTES)
METADATA = {
    "text": png_chunk(b"tEXt", b"k\0" + MEGABYTES) * 23,  # together above Pillow's 64 MiB
    "compressed text": png_chunk(b"zTXt", b"Comment\0\0" + LARGE),
    "international text": png_chunk(b"iTXt", b"k\0\0\0en\0k\0" + MEGABYTES) * 23,
    "compressed international text": png_chunk(b"iTXt", b"k\0\1\0en\0k\0" + LARGE),
    "many texts": png_chunk(b"zTXt", b"k\0\0" + zlib.compress(MEGABYTES[: 1 << 18])) * 300,
    "text at the limit": png_chunk(b"zTXt", b"k\0\0" + zlib.compress(MEGABYTES[: 1 << 20])),
    "profile": png_chunk(b"iCCP", b"sRGB\0\0" + LARGE),
    "profile by another method": png_chunk(b"iCCP", b"sRGB\0\7" + LARGE),
    "wrong checksum": png_chunk(b"tEXt", b"k\0text", is_sound=False),
    "too short": png_chunk(b"pHYs", b"\0"),
}


@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA)
@pytest.mark.parametrize("is_first", [True, False])
def test_metadata_of_a_png_does_not_matter(tmp_path, pixels, metadata, is_first):
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif_of(ORIENTATION))
    content = (tmp_path / "a.png").read_bytes()
    cut = content.index(b"IDAT") - 4 if is_first else len(content) - 12
    (tmp_path / "a.png").write_bytes(content[:cut] + metadata + content[cut:])
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), np.rot90(pixels, -1))


@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA)
def test_large_metadata_hides_no_damage_of_the_pixels(tmp_path, pixels, metadata):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    cut = content.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(content[:cut] + metadata + content[cut : cut + 40])
    with pytest.raises(DataError, match=r"a\.png is damaged"):
        load_image(tmp_path / "a.png")


def test_transparency_and_orientation_stay_beside_large_metadata(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    xmp = PngImagePlugin.PngInfo()
    xmp.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="8"/>')
    image.save(tmp_path / "a.png", transparency=1, pnginfo=xmp)
    content = (tmp_path / "a.png").read_bytes()
    cut = content.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(content[:cut] + METADATA["compressed text"] + content[cut:])
    assert load_image(tmp_path / "a.png")[:, 0].tolist() == [[255, 255, 255], [255, 0, 0]]


def test_transparent_pixels_lie_on_white(tmp_path):
    rgba = np.array([[(255, 0, 0, 255), (255, 0, 0, 0)]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png")[0].tolist() == [[255, 0, 0], [255, 255, 255]]


def test_a_palette_with_transparency_lies_on_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    image.save(tmp_path / "a.gif", transparency=1)
    assert load_image(tmp_path / "a.gif")[0].tolist() == [[255, 0, 0], [255, 255, 255]]


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"a\.jpg is missing"):
        load_image(tmp_path / "a.jpg")


def test_a_zero_byte_file(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(DataError, match=r"is empty \(0 bytes\)"):
        load_image(tmp_path / "a.jpg")


def test_a_text_file(tmp_path):
    (tmp_path / "a.jpg").write_text("<html>404 not found</html>")
    with pytest.raises(DataError, match="is it a picture"):
        load_image(tmp_path / "a.jpg")


def test_a_folder(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        load_image(tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "gif", "tif"])
def test_a_truncated_file(tmp_path, suffix):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8))
    noise.save(tmp_path / f"a.{suffix}")
    content = (tmp_path / f"a.{suffix}").read_bytes()
    (tmp_path / f"b.{suffix}").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=rf"the picture b\.{suffix} is "):
        load_image(tmp_path / f"b.{suffix}")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of TIFF files
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_anywhere_gives_a_picture_or_a_data_error(tmp_path_factory, data):
    suffix = data.draw(st.sampled_from(["jpeg", "png", "gif", "bmp", "tiff"]))
    stream = io.BytesIO()
    Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(stream, suffix)
    content = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.mktemp("damage") / f"a.{suffix}"
    file.write_bytes(content)
    with contextlib.suppress(DataError):
        assert load_image(file, max_megapixels=1).dtype == np.uint8


def test_a_hundred_megapixels_are_refused_by_the_header_alone(tmp_path):
    file = tmp_path / "a.png"
    Image.new("1", (10_000, 10_000)).save(file)
    content = file.read_bytes()
    file.write_bytes(content[:100])  # nothing to decode is left
    with pytest.raises(
        DataError, match=r"10000 x 10000 pixels \(100 megapixels\), the limit is 80"
    ):
        load_image(file)


@pytest.mark.parametrize("side", [12, 20])  # where Pillow would warn, and refuse
def test_pillows_own_limit_does_not_matter_and_stays(tmp_path, monkeypatch, side):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("1", (side, side), 1).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png", max_megapixels=0.001).shape == (side, side, 3)
    with pytest.raises(DataError, match=r"the limit is 0\.0001 megapixels"):
        load_image(tmp_path / "a.png", max_megapixels=0.0001)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_the_option_has_the_default_of_the_function():
    @max_megapixels_option
    def command(max_megapixels):
        pass

    (option,) = command.__click_params__
    assert option.default == MAX_MEGAPIXELS


@pytest.mark.real_data
def test_real_photographs(shared_data):
    photos = sorted((shared_data / "photos_fullres" / "images").iterdir())
    assert {load_image(photo).shape[2] for photo in photos} == {3}
