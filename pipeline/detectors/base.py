"""The detector interface: a network that proposes regions, and the way from picture to regions.

A backend is a `RegionNetwork`: it takes resized pictures of one size and returns boxes, class
scores and pooled features of its proposals. `RegionDetector` does the rest for all backends:
resizing, grouping by size, selection, and boxes in pixels of the original picture.

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
    """Default selection of a detector; see `Selection`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_regions: int = Field(10, ge=1, description="Minimum number of regions per image.")
    max_regions: int = Field(100, ge=1, description="Maximum number of regions per image.")
    score_threshold: float = Field(0.2, ge=0, le=1, description="Score that keeps a region.")
    nms_threshold: float = Field(0.3, ge=0, le=1, description="IoU that suppresses, per class.")
    counts_pixels: bool = Field(False, description="A box from 0 to 9 is 10 wide, as in Caffe.")

    def selection(self, regions: str | None = None) -> Selection:
        """The selection; `regions` overrides the number of regions, as `36` or `10:100`."""
        settings = self.model_dump(exclude={"min_regions", "max_regions"})
        if regions is None:
            return Selection(self.min_regions, self.max_regions, **settings)
        return Selection.parse(regions, **settings)


class DetectorInfo(BaseModel):
    """Metadata of a detector: all that is needed to run its network; exported files carry it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="", description="What the detector is called.")
    domain: str = Field(default="", description="The kind of pictures it was trained on.")
    classes: tuple[str, ...] = Field(min_length=1, description="Names, without background.")
    attributes: tuple[str, ...] = Field(
        default=(), description="Names; empty without an attribute head."
    )
    attribute_groups: tuple[str, ...] = Field(
        default=(), description="Group of each attribute; attributes of a group exclude each other."
    )
    feature_width: int = Field(ge=1, description="Width D of a region's feature.")
    resize: ResizePolicy = Field(description="How pictures are resized.")
    channels: Literal["BGR", "RGB"] = Field(
        default="BGR", description="Channel order of the input."
    )
    pixel_mean: tuple[float, ...] = Field(description="Subtracted inside the network.")
    pixel_std: tuple[float, ...] = Field(description="Divided by inside the network.")
    boxes: Literal["refined", "proposals"] = Field(
        default="refined",
        description="Boxes after regression, or those the features were pooled from.",
    )
    dialect: str = Field(
        default="detectron2", description="Kind of checkpoint that it was made from."
    )
    selection: SelectionDefaults = Field(
        default=SelectionDefaults.model_validate({}), description="Default selection."
    )

    @property
    def names(self) -> dict[str, list[str]]:
        """Class and attribute names, by the shard dataset that they index."""
        named = {"labels": list(self.classes)}
        return named | ({"attributes": list(self.attributes)} if self.attributes else {})

    @property
    def main_attributes(self) -> NDArray[np.int64]:
        """Indices of the attributes that a shard chooses from: the largest group, or all."""
        groups = set(self.attribute_groups)
        if not groups or "" in groups:
            return np.arange(len(self.attributes))
        largest = max(sorted(groups), key=self.attribute_groups.count)
        return np.array([k for k, group in enumerate(self.attribute_groups) if group == largest])


@dataclass(frozen=True, eq=False)
class Candidates:
    """All proposals of one picture, before selection.

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
    """A backend: one network with its weights loaded."""

    @property
    def info(self) -> DetectorInfo:
        """Its metadata."""
        ...

    def start(self, pictures_B3HW: Floats) -> Callable[[], list[Candidates]]:
        """Start the network on pictures of one size; a GPU computes while the caller goes on.

        Args:
            pictures_B3HW: float32, 0 to 255, resized, channels as `info.channels` says.

        Returns:
            A function that waits for the network and returns the candidates of each picture.
        """
        ...


@dataclass(frozen=True, eq=False)
class DetectedRegions:
    """The regions of one picture, best first.

    Attributes:
        features: `[R, D]` float32.
        boxes: `[R, 4]` in pixels of the original picture.
        image_size: height and width of the original picture.
        labels: `[R]` most probable class.
        scores: `[R]` its probability.
        attribute_scores: `[R, A]` probability of every attribute, or None.
        num_filled: how many of them score below the threshold and only fill up to the minimum.
    """

    features: Floats
    boxes: Floats
    image_size: tuple[int, int]
    labels: NDArray[np.int64]
    scores: Floats
    attribute_scores: Floats | None
    num_filled: int

    def record(self, image_id: str, info: DetectorInfo) -> ImageRegions:
        """The record that a shard stores, with one attribute: the most probable main one."""
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
    """A picture, resized for the network.

    Attributes:
        planes: `[3, height, width]` float32, resized, channels in the network's order.
        image_size: height and width of the original picture.
    """

    planes: Floats
    image_size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class RegionDetector:
    """A network with its selection: pictures in, regions out.

    Attributes:
        network: the backend.
        selection: how many regions are kept, and from which score.
        fingerprint: digests of the weights.
    """

    network: RegionNetwork
    selection: Selection
    fingerprint: Mapping[str, Any]

    @property
    def info(self) -> DetectorInfo:
        """The metadata of the network."""
        return self.network.info

    def detect(self, pictures: Sequence[Picture]) -> list[DetectedRegions]:
        """Detect the regions of pictures.

        Args:
            pictures: each `[height, width, 3]` RGB.
        """
        return self.start([self.prepare(picture) for picture in pictures])()

    def prepare(self, picture: Picture) -> PreparedPicture:
        """Resize a picture for the network."""
        planes = resize(picture, self.info.resize, self.info.channels)
        return PreparedPicture(planes, (picture.shape[0], picture.shape[1]))

    def start(self, pictures: Sequence[PreparedPicture]) -> Callable[[], list[DetectedRegions]]:
        """Start the network on pictures; the returned function waits for it and selects regions.

        Pictures of equal size after resizing share a batch. Others run separately, as padding
        would change the features.
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
        attribute_scores = candidates.attribute_scores
        if attribute_scores is not None:
            attribute_scores = attribute_scores[kept.rows].astype(np.float32)
        return DetectedRegions(
            features=candidates.features[kept.rows].astype(np.float32),
            boxes=np.clip(boxes, 0, edge),
            image_size=(height, width),
            labels=labels,
            scores=np.take_along_axis(scores, labels[:, None], 1)[:, 0],
            attribute_scores=attribute_scores,
            num_filled=kept.num_filled,
        )
