"""What a detector is: a network that proposes regions, and the one way from picture to regions.

A backend is a `RegionNetwork`: resized pictures of one size in, boxes, class scores and pooled
features of its proposals out. `RegionDetector` does the rest for all backends: resizing, grouping
by size, selection, and boxes in pixels of the original picture.

P proposals, C classes, A attributes, R regions kept, D feature width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pipeline.detectors.resizing import ResizePolicy, resize
from pipeline.detectors.selection import Selection, select_regions
from pipeline.shards.records import ImageRegions

Floats = NDArray[np.floating[Any]]
Picture = NDArray[np.uint8]


class SelectionDefaults(BaseModel):
    """Which boxes are kept where the user does not say; see `Selection`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_regions: int = Field(10, ge=1, description="Fewest regions of an image.")
    max_regions: int = Field(100, ge=1, description="Most regions of an image.")
    score_threshold: float = Field(0.2, ge=0, le=1, description="Score that keeps a region.")
    nms_threshold: float = Field(0.3, ge=0, le=1, description="IoU that suppresses, per class.")
    counts_pixels: bool = Field(False, description="A box from 0 to 9 is 10 wide, as in Caffe.")

    def selection(self, regions: str | None = None) -> Selection:
        """The selection, with the count that a user gave as `36` or `10:100`."""
        settings = self.model_dump(exclude={"min_regions", "max_regions"})
        if regions is None:
            return Selection(self.min_regions, self.max_regions, **settings)
        return Selection.parse(regions, **settings)


class DetectorInfo(BaseModel):
    """What one must know of a network to use it; an exported file carries it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("", description="What the detector is called.")
    domain: str = Field("", description="The kind of pictures it was trained on.")
    classes: tuple[str, ...] = Field(min_length=1, description="Names, without background.")
    attributes: tuple[str, ...] = Field((), description="Names; empty without an attribute head.")
    attribute_groups: tuple[str, ...] = Field(
        (), description="Group of each attribute; those of one exclude each other."
    )
    feature_width: int = Field(ge=1, description="Width D of a region's feature.")
    resize: ResizePolicy = Field(description="How pictures are resized.")
    channels: Literal["BGR", "RGB"] = Field("BGR", description="Order in which pixels come in.")
    pixel_mean: tuple[float, ...] = Field(description="Subtracted inside the network.")
    pixel_std: tuple[float, ...] = Field(description="Divided by inside the network.")
    boxes: Literal["refined", "proposals"] = Field(
        "refined", description="Boxes after regression, or the proposals the features stem from."
    )
    dialect: str = Field("detectron2", description="Which kind of checkpoint it was.")
    selection: SelectionDefaults = Field(
        default=SelectionDefaults.model_validate({}), description="Which boxes are kept."
    )

    @property
    def names(self) -> dict[str, list[str]]:
        """Names by dataset of a shard."""
        named = {"labels": list(self.classes)}
        return named | ({"attributes": list(self.attributes)} if self.attributes else {})

    @property
    def main_attributes(self) -> NDArray[np.int64]:
        """Attributes of the largest group, of which a shard stores the most probable; else all."""
        groups = set(self.attribute_groups)
        if not groups or "" in groups:
            return np.arange(len(self.attributes))
        largest = max(sorted(groups), key=self.attribute_groups.count)
        return np.array([k for k, group in enumerate(self.attribute_groups) if group == largest])


@dataclass(frozen=True, eq=False)
class Candidates:
    """What a network says of one picture, before anything is selected.

    Attributes:
        boxes: `[P, 4]` corners in pixels of the resized picture.
        class_scores: `[P, C]` probabilities, without background.
        features: `[P, D]` what the box predictor sees.
        attribute_scores: `[P, A]` probabilities, or None.
    """

    boxes: Floats
    class_scores: Floats
    features: Floats
    attribute_scores: Floats | None = None


class RegionNetwork(Protocol):
    """A backend: one network, opened."""

    @property
    def info(self) -> DetectorInfo:
        """What it was made for."""
        ...

    def start(self, pictures_B3HW: Floats) -> Callable[[], list[Candidates]]:
        """Give pictures of one size to the network; a GPU works on while others are prepared.

        Args:
            pictures_B3HW: float32, 0 to 255, resized, channels as `info.channels` says.

        Returns:
            What waits for their proposals.
        """
        ...


@dataclass(frozen=True, eq=False)
class DetectedRegions:
    """The regions of one picture, best first; see `ImageRegions` for what they share.

    Attributes:
        features: `[R, D]` float32.
        boxes: `[R, 4]` in pixels of the original picture.
        image_size: height and width of the original picture.
        labels: `[R]` most probable class.
        scores: `[R]` its probability.
        attribute_scores: `[R, A]` probability of every attribute, or None.
        num_filled: how many are there only to reach the minimum.
    """

    features: Floats
    boxes: Floats
    image_size: tuple[int, int]
    labels: NDArray[np.int64]
    scores: Floats
    attribute_scores: Floats | None
    num_filled: int

    def record(self, image_id: str, info: DetectorInfo) -> ImageRegions:
        """As it is stored: of the attributes the most probable of the main ones."""
        attributes = probabilities = None
        if self.attribute_scores is not None:
            main = info.main_attributes
            best = self.attribute_scores[:, main].argmax(1)
            attributes = main[best]
            probabilities = np.take_along_axis(self.attribute_scores, attributes[:, None], 1)[:, 0]
        return ImageRegions(
            image_id=image_id,
            features=self.features,
            boxes=self.boxes,
            image_size=self.image_size,
            labels=self.labels,
            scores=self.scores,
            attributes=attributes,
            attribute_scores=probabilities,
        )


@dataclass(frozen=True, eq=False)
class PreparedPicture:
    """A picture as a network wants it.

    Attributes:
        planes: `[3, height, width]` float32, resized, channels in the network's order.
        image_size: height and width of the original picture.
    """

    planes: Floats
    image_size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class RegionDetector:
    """Pictures in, regions out.

    Attributes:
        network: the backend.
        selection: which boxes are kept.
        fingerprint: what identifies the weights.
    """

    network: RegionNetwork
    selection: Selection
    fingerprint: Mapping[str, Any]

    @property
    def info(self) -> DetectorInfo:
        """What the network was made for."""
        return self.network.info

    def detect(self, pictures: Sequence[Picture]) -> list[DetectedRegions]:
        """The regions of some pictures.

        Args:
            pictures: each `[height, width, 3]` RGB.
        """
        return self.start([self.prepare(picture) for picture in pictures])()

    def prepare(self, picture: Picture) -> PreparedPicture:
        """A picture as the network wants it."""
        planes = resize(picture, self.info.resize, self.info.channels)
        return PreparedPicture(planes, (picture.shape[0], picture.shape[1]))

    def start(self, pictures: Sequence[PreparedPicture]) -> Callable[[], list[DetectedRegions]]:
        """Give pictures to the network; what comes back waits for it and selects.

        Pictures that have one size after resizing go through the network together, others apart:
        padding would leak into the features.
        """
        groups: dict[tuple[int, ...], list[int]] = {}
        for place, picture in enumerate(pictures):
            groups.setdefault(picture.planes.shape, []).append(place)
        started = [
            (places, self.network.start(np.stack([pictures[place].planes for place in places])))
            for places in groups.values()
        ]

        def finish() -> list[DetectedRegions]:
            found = {
                place: self._select(candidates, pictures[place])
                for places, candidates_of in started
                for place, candidates in zip(places, candidates_of(), strict=True)
            }
            return [found[place] for place in range(len(pictures))]

        return finish

    def _select(self, candidates: Candidates, picture: PreparedPicture) -> DetectedRegions:
        height, width = picture.image_size
        rows, columns = picture.planes.shape[1:]
        scale = np.array([width / columns, height / rows] * 2, np.float32)
        kept = select_regions(candidates.boxes, candidates.class_scores, self.selection)
        scores = candidates.class_scores[kept.rows]
        labels = scores.argmax(1)
        boxes = candidates.boxes[kept.rows] * scale
        edge = np.array([width, height] * 2, np.float32)
        told = candidates.attribute_scores
        return DetectedRegions(
            features=candidates.features[kept.rows].astype(np.float32),
            boxes=np.clip(boxes, 0, edge),
            image_size=(height, width),
            labels=labels,
            scores=np.take_along_axis(scores, labels[:, None], 1)[:, 0],
            attribute_scores=None if told is None else told[kept.rows].astype(np.float32),
            num_filled=kept.num_filled,
        )
