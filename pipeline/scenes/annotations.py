"""The files of the data set: captions, instances, hard pairs and manifest."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.scenes.captions import Caption
from pipeline.scenes.drawing import COLOURS, visible_pixels
from pipeline.scenes.layout import Twins
from pipeline.scenes.relations import CONVERSE, Relation, relations
from pipeline.scenes.scene import IMAGE_SIZE, SIZES, TEXTURES, Scene, own_pixels
from pipeline.scenes.shapes import SHAPES

LICENCE = "MIT, as the program that draws them"
HARD_SPLITS = ("val", "test")
"""Splits that have hard pairs; train holds the twins themselves."""

SIGHTS = ("whole", "covered")
LEAST_WHOLE = 0.99
"""Visible share from which an object counts as whole; outlines alone hide less than 0.5 %."""

Json = dict[str, Any]


@dataclass(frozen=True)
class InstanceRecord:
    """One object of a picture.

    Attributes:
        shape: its category.
        attributes: size, texture, colour.
        box: left, top, width, height of its visible pixels.
        area: number of its visible pixels.
        visible: visible share of its pixels.
    """

    shape: str
    attributes: tuple[str, ...]
    box: tuple[int, int, int, int]
    area: int
    visible: float

    @property
    def sight(self) -> str:
        """Whether another object covers some of it."""
        whole, covered = SIGHTS
        return whole if self.visible >= LEAST_WHOLE else covered


@dataclass(frozen=True)
class ImageRecord:
    """One picture: where it is, what is on it, what its captions say."""

    number: int
    file_name: str
    twin_file_name: str
    instances: tuple[InstanceRecord, ...]
    relations: tuple[Relation, ...]
    captions: tuple[Caption, ...]


@dataclass(frozen=True)
class PairRecord:
    """A pair of twins in one split."""

    split: str
    core_relation: str
    images: tuple[ImageRecord, ImageRecord]


def pair_record(
    number: int, split: str, twins: Twins, captions: tuple[Sequence[Caption], Sequence[Caption]]
) -> PairRecord:
    """What the files say of pair `number`, which is the images 2 `number` and the next."""
    numbers = (2 * number, 2 * number + 1)
    names = [f"{k:06d}.png" for k in numbers]
    first, second = (
        ImageRecord(
            number=numbers[k],
            file_name=names[k],
            twin_file_name=names[1 - k],
            **_content(twins.scenes[k]),
            captions=tuple(captions[k]),
        )
        for k in (0, 1)
    )
    return PairRecord(split, twins.relation, (first, second))


def _content(scene: Scene) -> Json:
    """Instances and relations, sorted by the kind of object, so the order reveals no position."""
    found = _instances(scene)
    order = sorted(
        range(len(found)), key=lambda k: (found[k].shape, found[k].attributes, found[k].box)
    )
    place = {old: new for new, old in enumerate(order)}
    held = ((place[i], name, place[j]) for i, name, j in relations(scene))
    return {"instances": tuple(found[k] for k in order), "relations": tuple(sorted(held))}


def _instances(scene: Scene) -> list[InstanceRecord]:
    """The objects in drawing order."""
    records = []
    for item, shown in zip(scene.objects, visible_pixels(scene), strict=True):
        rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
        top, left = int(rows[0]), int(columns[0])
        area = int(shown.sum())
        records.append(
            InstanceRecord(
                shape=item.kind.shape,
                attributes=tuple(item.attributes.values()),
                box=(left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top),
                area=area,
                visible=round(area / int(own_pixels(item).sum()), 4),
            )
        )
    return records


def captions_json(pairs: Sequence[PairRecord]) -> Json:
    """`captions.json`: Karpathy's layout, each sentence with its gold graph."""
    images = []
    for pair in pairs:
        for image in pair.images:
            ids = [len(image.captions) * image.number + k for k in range(len(image.captions))]
            images.append(
                {
                    "filename": image.file_name,
                    "imgid": image.number,
                    "split": pair.split,
                    "sentids": ids,
                    "sentences": [
                        _sentence(caption) | {"imgid": image.number, "sentid": sentence_id}
                        for caption, sentence_id in zip(image.captions, ids, strict=True)
                    ],
                }
            )
    return {"dataset": "scenes", "images": images}


def _sentence(caption: Caption) -> Json:
    return {
        "raw": caption.text,
        "tokens": caption.text.lower().replace(",", "").rstrip(".").split(),
        "triples": [list(triple) for triple in caption.triples],
        "objects": [
            {
                "noun": noun,
                "shape": mention.shape,
                "attributes": list(mention.attributes),
                "count": mention.count,
            }
            for noun, mention in zip(caption.nouns, caption.graph.mentions, strict=True)
        ],
        "predicates": [list(edge) for edge in caption.edges],
        "relations": [list(relation) for relation in caption.graph.relations],
    }


def instances_json(pairs: Sequence[PairRecord], settings: Mapping[str, Any]) -> Json:
    """`instances.json`: COCO's layout, with attributes and relations beside."""
    categories = {shape: number for number, shape in enumerate(SHAPES, start=1)}
    images, annotations, triples = [], [], []
    for pair in pairs:
        for image in pair.images:
            images.append(
                {
                    "id": image.number,
                    "file_name": image.file_name,
                    "width": IMAGE_SIZE,
                    "height": IMAGE_SIZE,
                    "split": pair.split,
                    "twin": image.twin_file_name,
                    "core_relation": pair.core_relation,
                }
            )
            ids = range(len(annotations) + 1, len(annotations) + 1 + len(image.instances))
            for annotation_id, instance in zip(ids, image.instances, strict=True):
                annotations.append(
                    {
                        "id": annotation_id,
                        "image_id": image.number,
                        "category_id": categories[instance.shape],
                        "bbox": list(instance.box),
                        "area": instance.area,
                        "iscrowd": 0,
                        "attributes": [*instance.attributes, instance.sight],
                        "visible": instance.visible,
                    }
                )
            triples += [
                {
                    "image_id": image.number,
                    "subject_id": ids[subject],
                    "predicate": name,
                    "object_id": ids[other],
                }
                for subject, name, other in image.relations
            ]
    groups = {"size": SIZES, "texture": TEXTURES, "colour": tuple(COLOURS), "sight": SIGHTS}
    return {
        "info": {"description": "Generated scenes", **settings},
        "licenses": [{"id": 1, "name": LICENCE}],
        "images": images,
        "categories": [
            {"id": number, "name": shape, "supercategory": "shape"}
            for shape, number in categories.items()
        ],
        "attributes": [
            {"name": name, "group": group} for group, names in groups.items() for name in names
        ],
        "predicates": list(CONVERSE),
        "annotations": annotations,
        "relations": triples,
    }


def hard_pairs_json(pairs: Sequence[PairRecord]) -> Json:
    """`hard_pairs.json`: a picture, its caption, and its twin's caption in the same words."""
    items = []
    for pair in pairs:
        if pair.split not in HARD_SPLITS:
            continue
        for image, twin in (pair.images, pair.images[::-1]):
            for k, (right, wrong) in enumerate(zip(image.captions, twin.captions, strict=True)):
                if right.is_hard:
                    items.append(
                        {
                            "image_id": image.file_name,
                            "split": pair.split,
                            "relation": pair.core_relation,
                            "caption_id": f"{image.file_name}#{k}",
                            "right": right.text,
                            "wrong_caption_id": f"{twin.file_name}#{k}",
                            "wrong": wrong.text,
                        }
                    )
    return {"dataset": "scenes", "pairs": items}


def manifest(pairs: Sequence[PairRecord], settings: Mapping[str, Any]) -> Json:
    """`scenes.yaml`: where the pictures and captions are, and their number per split."""
    images, captions = Counter[str](), Counter[str]()
    for pair in pairs:
        for image in pair.images:
            images[pair.split] += 1
            captions[pair.split] += len(image.captions)
    made_by = f"pipeline make-scenes --images {settings['images']} --seed {settings['seed']}"
    return {
        "name": "scenes",
        "title": "Generated scenes",
        "licence": LICENCE,
        "citation": "none needed",
        "published": [f"generated: {made_by}"],
        "image_pattern": "images/{file}",
        "detector": "scenes",
        "caption_files": [{"file": "captions.json", "format": "karpathy-json"}],
        "splits": {
            split: {"images": images[split], "captions": captions[split]}
            for split in ("train", "val", "test")
        },
    }
