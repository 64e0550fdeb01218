"""Caption files without a manifest: the format is recognised, and every caption is read."""

import gzip
import json

import pytest

from pipeline.errors import DataError
from pipeline.manifests.caption_files import read_captions
from pipeline.manifests.manifest import file_captions

KARPATHY = {
    "images": [
        {"filename": "a.jpg", "split": "train", "sentences": [{"raw": "A dog"}, {"raw": "Two"}]},
        {"filename": "b.jpg", "split": "val", "sentences": [{"raw": "A cat, asleep"}]},
    ]
}
COCO = {
    "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}],
    "annotations": [
        {"image_id": 7, "caption": "A dog"},
        {"image_id": 8, "caption": "A cat, asleep"},
        {"image_id": 7, "caption": "Two"},
    ],
}
RECORDS = [
    {"image": "a.jpg", "caption": "A dog"},
    {"image": "b.jpg", "caption": "A cat, asleep"},
    {"image": "a.jpg", "caption": "Two"},
]
LISTS = [
    {"file_name": "a.jpg", "captions": ["A dog", "Two"], "width": 3},
    {"file_name": "b.jpg", "captions": ["A cat, asleep"], "width": 4},
]
CONTENTS = {
    "token-tsv": "a.jpg#0\tA dog\na.jpg#1\tTwo\nb.jpg#0\tA cat, asleep\n",
    "csv": 'image,caption\na.jpg,A dog\na.jpg,Two\nb.jpg,"A cat, asleep"\n',
    "csv of Excel": '\ufeff"Image";"Caption"\r\na.jpg;A dog\r\na.jpg;Two\r\n'
    "b.jpg;A cat, asleep\r\n",
    "csv with more columns": "id,File Name,width,text\n1,a.jpg,3,A dog\n2,a.jpg,3,Two\n"
    '3,b.jpg,4,"A cat, asleep"\n\n',
    "tsv": "caption\timage_id\nA dog\ta.jpg\nTwo\ta.jpg\nA cat, asleep\tb.jpg\n",
    "results.csv of Flickr30K": "image_name| comment_number| comment\na.jpg| 0| A dog\n"
    "a.jpg| 1| Two\nb.jpg| 0| A cat, asleep\n",
    "JSON lines": "".join(json.dumps(record) + "\n" for record in RECORDS),
    "JSON lines of lists": "\n".join(map(json.dumps, LISTS)),
    "list of records": json.dumps(RECORDS, indent=1),
    "captions by image": json.dumps({"a.jpg": ["A dog", "Two"], "b.jpg": "A cat, asleep"}),
    "Karpathy": json.dumps(KARPATHY),
    "COCO": json.dumps(COCO),
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("is_packed", [False, True])
def test_the_format_is_recognised(tmp_path, content, is_packed):
    data = content.encode()
    (tmp_path / "captions").write_bytes(gzip.compress(data) if is_packed else data)
    captions = file_captions(tmp_path / "captions")
    assert [(caption.id, caption.text) for caption in captions] == [
        ("a.jpg#0", "A dog"),
        ("a.jpg#1", "Two"),
        ("b.jpg#0", "A cat, asleep"),
    ]
    splits = ["train", "train", "val"] if content == CONTENTS["Karpathy"] else ["all"] * 3
    assert [caption.split for caption in captions] == splits


def test_a_column_or_key_may_name_the_split(tmp_path):
    (tmp_path / "c.csv").write_text("image,split,caption\na.jpg,train,A dog\nb.jpg,val,A cat\n")
    assert [caption.split for caption in file_captions(tmp_path / "c.csv")] == ["train", "val"]
    record = {"image": 391895, "split": "test", "caption": "A dog"}
    (tmp_path / "c.jsonl").write_text(json.dumps(record))
    (caption,) = file_captions(tmp_path / "c.jsonl")
    assert (caption.image_id, caption.split) == ("391895", "test")


@pytest.mark.parametrize(
    ("line", "caption"),
    [
        ('a.jpg\tHe said "hi"', 'He said "hi"'),
        ('a.jpg\t"Hi" he said', '"Hi" he said'),
        ('a.jpg\t"Hi"', '"Hi"'),
        ('a.jpg\t"He said ""hi"""', 'He said "hi"'),  # as pandas writes it
    ],
)
def test_quotes_in_a_tsv_are_part_of_the_caption(tmp_path, line, caption):
    (tmp_path / "c.tsv").write_text(f"image\tcaption\n{line}\n")
    assert [item.text for item in file_captions(tmp_path / "c.tsv")] == [caption]


def test_a_quoted_caption_may_have_several_lines(tmp_path):
    (tmp_path / "c.csv").write_text('image,caption\na.jpg,"A dog\nruns"\nb.jpg,A cat\n')
    assert [item.text for item in file_captions(tmp_path / "c.csv")] == ["A dog\nruns", "A cat"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("image,caption\na.jpg,A dog, running\n", r"line 2: expected 2 columns .* got 3"),
        ("image,caption\na.jpg\n", r"line 2: expected 2 columns .* got 1"),
        ('image,caption\na.jpg,"A dog\n', r"line 2: unexpected end of data"),
        ("image,caption\n,A dog\n", r"line 2: the column image is empty"),
        ("image_name| n| comment\na.jpg| 4 A dog\n", r"line 2: expected 3 columns"),
        ("image,split,caption\na,train,x\na,val,y\n", r"'a' is in the splits train and val"),
        ('{"image": "a"}\n{"image": "b"}\n', r"line 1: expected {\"image\": .*, got"),
        ('{"image": "a", "caption": "x"}\n{"image": \n', r"line 2: expected a JSON object"),
        ('[{"caption": "x"}]', r"object 1: expected {\"image\""),
        ('{"image": "a", "caption": null}', r"object 1: expected"),
        ("[1, 2]", r"object 1: expected .* got '1'"),
        ("no captions here\n", r"line 1: expected `file#k<TAB>caption`"),
        ("image,caption\n", r"has no captions"),
    ],
)
def test_a_file_that_cannot_be_read_names_the_line(tmp_path, content, said):
    (tmp_path / "c").write_text(content)
    with pytest.raises(DataError, match=said):
        file_captions(tmp_path / "c")


def test_a_manifest_names_these_formats_too(tmp_path):
    (tmp_path / "c.txt").write_text("no header\n")
    with pytest.raises(DataError, match="expected a header with an image and a caption column"):
        read_captions(tmp_path / "c.txt", "table")
    (tmp_path / "c.csv").write_text(CONTENTS["csv"])
    images = read_captions(tmp_path / "c.csv", "table", split="train")
    assert [(image.image_id, image.split, len(image.captions)) for image in images] == [
        ("a.jpg", "train", 2), ("b.jpg", "train", 1)]  # fmt: skip
