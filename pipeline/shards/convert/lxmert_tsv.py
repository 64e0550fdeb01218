"""LXMERT's TSV: boxes, objects, attributes with their confidences, and features of each image.

Ten columns without a header: img_id, img_h, img_w, objects_id (int64), objects_conf (float32),
attrs_id (int64), attrs_conf (float32), num_boxes, boxes (float32), features (float32); arrays in
base64 (airsplay/lxmert, src/utils.py and data/mscoco_imgfeat/extract_coco_image.py). Object and
attribute ids count from 0 without background, as labels do here.
"""

from collections.abc import Iterable
from pathlib import Path

from pipeline.shards.convert.output import new_file
from pipeline.shards.convert.row_checks import RowChecks
from pipeline.shards.convert.source import ReadOptions, Source
from pipeline.shards.convert.tsv import Row, encode, read_images, row_bytes, tsv_files
from pipeline.shards.records import ImageRegions

COLUMNS = (
    "img_id",
    "img_h",
    "img_w",
    "objects_id",
    "objects_conf",
    "attrs_id",
    "attrs_conf",
    "num_boxes",
    "boxes",
    "features",
)

NEEDS = KEEPS = ("boxes", "image_size", "labels", "scores", "attributes", "attribute_scores")


def read(source: Path, options: ReadOptions) -> list[Source]:
    """The images of an LXMERT file or of a folder of them, as one split."""
    files = tsv_files(source)
    check = RowChecks(
        skip_faulty=options.skip_faulty,
        image_id="img_id",
        image_size="img_h, img_w",
        labels="objects_id",
        scores="objects_conf",
        attributes="attrs_id",
        attribute_scores="attrs_conf",
    )
    records = read_images(files, COLUMNS, _record, check)
    return [Source(files=files, split=options.split, records=records)]


def _record(row: Row) -> ImageRegions:
    num_regions = row.count("num_boxes")
    return ImageRegions(
        image_id=row.text("img_id"),
        features=row.array("features", "<f4", (num_regions, -1)),
        boxes=row.array("boxes", "<f4", (num_regions, 4)),
        image_size=(row.count("img_h"), row.count("img_w")),
        labels=row.array("objects_id", "<i8", (num_regions,)),
        scores=row.array("objects_conf", "<f4", (num_regions,)),
        attributes=row.array("attrs_id", "<i8", (num_regions,)),
        attribute_scores=row.array("attrs_conf", "<f4", (num_regions,)),
    )


def write(records: Iterable[ImageRegions], out: Path, num_images: int) -> list[Path]:
    """Write images as LXMERT rows, byte for byte as its extractor would; gzip if `out` ends so."""
    with new_file(out) as stream:
        for record in records:
            assert record.image_size is not None
            height, width = record.image_size
            stream.write(
                row_bytes(
                    (
                        record.image_id,
                        height,
                        width,
                        encode(record.labels, "<i8"),
                        encode(record.scores, "<f4"),
                        encode(record.attributes, "<i8"),
                        encode(record.attribute_scores, "<f4"),
                        len(record.features),
                        encode(record.boxes, "<f4"),
                        encode(record.features, "<f4"),
                    )
                )
            )
    return [out]
