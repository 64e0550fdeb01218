"""The TSV of bottom-up attention: boxes and features of each image, no classes.

Six columns without a header: image_id, image_w, image_h, num_boxes, boxes (float32), features
(float32); arrays in base64 (peteanderson80/bottom-up-attention, tools/generate_tsv.py). Width
stands before height, unlike LXMERT's.
"""

from collections.abc import Iterable
from pathlib import Path

from pipeline.shards.convert.output import new_file
from pipeline.shards.convert.row_checks import RowChecks
from pipeline.shards.convert.source import ReadOptions, Source
from pipeline.shards.convert.tsv import Row, encode, read_images, row_bytes, tsv_files
from pipeline.shards.records import ImageRegions

COLUMNS = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")

NEEDS = KEEPS = ("boxes", "image_size")

NOTICE = (
    "BUTD files hold no labels, scores or attributes: region order is the file's, and no class is "
    "known."
)


def read(source: Path, options: ReadOptions) -> list[Source]:
    """The images of a BUTD file or of a folder of them (`x.tsv.0`, `x.tsv.1`), as one split."""
    files = tsv_files(source)
    check = RowChecks(skip_faulty=options.skip_faulty, image_size="image_w, image_h")
    records = read_images(files, COLUMNS, _record, check)
    return [Source(files=files, split=options.split, records=records, notices=(NOTICE,))]


def _record(row: Row) -> ImageRegions:
    num_regions = row.count("num_boxes")
    return ImageRegions(
        image_id=row.text("image_id"),
        features=row.array("features", "<f4", (num_regions, -1)),
        boxes=row.array("boxes", "<f4", (num_regions, 4)),
        image_size=(row.count("image_h"), row.count("image_w")),
    )


def write(records: Iterable[ImageRegions], out: Path, num_images: int) -> list[Path]:
    """Write images as BUTD rows, byte for byte as its extractor would; gzip if `out` ends so."""
    with new_file(out) as stream:
        for record in records:
            assert record.image_size is not None
            height, width = record.image_size
            boxes, features = encode(record.boxes, "<f4"), encode(record.features, "<f4")
            num_regions = len(record.features)
            stream.write(row_bytes((record.image_id, width, height, num_regions, boxes, features)))
    return [out]
