"""Find captions that are also true of other pictures of their split."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.scenes.meaning import CaptionGraph, Mention, Thing
from pipeline.scenes.relations import Relation, offsets


@dataclass(frozen=True)
class Picture:
    """What is known of a picture: its objects, and the relations that a lenient reader grants."""

    image_id: str
    things: tuple[Thing, ...]
    holding: frozenset[Relation]


def ambiguous_captions(folder: Path, split: str) -> dict[str, list[str]]:
    """Captions that a lenient reader finds true of other images of the split.

    Retrieval counts each of these images as wrong, so they bound the Recall@1 that can be reached.

    Args:
        folder: what `make-scenes` wrote.
        split: `train`, `val` or `test`.

    Returns:
        The other images by caption id; a caption that is true of its own image alone is left out.
    """
    known = pictures(json.loads((folder / "instances.json").read_text("utf-8")), split)
    captions = json.loads((folder / "captions.json").read_text("utf-8"))
    found = {}
    for image in captions["images"]:
        if image["split"] != split:
            continue
        for k, sentence in enumerate(image["sentences"]):
            graph = caption_graph(sentence)
            others = [
                picture.image_id
                for picture in known
                if picture.image_id != image["filename"]
                and graph.is_true_of(picture.things, picture.holding)
            ]
            if others:
                found[f"{image['filename']}#{k}"] = others
    return found


def caption_graph(sentence: dict[str, Any]) -> CaptionGraph:
    """The claims of one sentence of `captions.json`."""
    return CaptionGraph(
        mentions=tuple(
            Mention(said["shape"], tuple(said["attributes"]), said["count"])
            for said in sentence["objects"]
        ),
        relations=tuple((i, name, j) for i, name, j in sentence["relations"]),
    )


def pictures(instances: dict[str, Any], split: str) -> list[Picture]:
    """The pictures of a split, from the content of `instances.json`."""
    shapes = {category["id"]: category["name"] for category in instances["categories"]}
    members: dict[int, list[dict[str, Any]]] = {}
    for annotation in instances["annotations"]:
        members.setdefault(annotation["image_id"], []).append(annotation)
    relations: dict[int, list[dict[str, Any]]] = {}
    for relation in instances["relations"]:
        relations.setdefault(relation["image_id"], []).append(relation)
    found = []
    for image in instances["images"]:
        if image["split"] != split:
            continue
        objects = members[image["id"]]
        index = {annotation["id"]: k for k, annotation in enumerate(objects)}
        stated = {
            (index[entry["subject_id"]], entry["predicate"], index[entry["object_id"]])
            for entry in relations.get(image["id"], [])
        }
        boxes = [annotation["bbox"] for annotation in objects]
        centres = [(x + width / 2, y + height / 2) for x, y, width, height in boxes]
        things = (
            Thing(shapes[annotation["category_id"]], frozenset(annotation["attributes"]))
            for annotation in objects
        )
        holding = stated | offsets(centres)
        found.append(Picture(image["file_name"], tuple(things), frozenset(holding)))
    return found
