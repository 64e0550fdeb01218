"""Edges between the regions of an image: spatial classes, feature neighbours, all, predicates.

I images, R the largest number of regions, D feature width, E edges, K types an edge.
An edge (source, target) lets the target attend the source; edges are sorted by (target, source).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from resg.config import VisualGraphSettings
from resg.graphs.batch import GraphBatch
from resg.graphs.ragged import Layout

INSIDE, COVER, OVERLAP = 1, 2, 3
FIRST_DIRECTION = 4
NUM_SPATIAL_CLASSES = 11
NEIGHBOUR = NUM_SPATIAL_CLASSES + 1
SELF = NEIGHBOUR + 1
ANY = SELF + 1
FIRST_PREDICATE = ANY + 1
GEOMETRY_WIDTH = 6


@dataclass(frozen=True)
class Edges:
    """A batch of graphs with what is known of each edge.

    Attributes:
        graph: the edges themselves.
        types: `[E, K]` int64, the set of types of each edge; 0 is padding.
        geometry: `[E, G]` numbers of each edge, or None.
        is_edge: `[E]` bool, where the graph is of all pairs: which of them are edges; the others
            get no attention. None where all are.
    """

    graph: GraphBatch
    types: Tensor
    geometry: Tensor | None = None
    is_edge: Tensor | None = None


def num_visual_edge_types(num_predicates: int) -> int:
    """Number of edge types, the padding type 0 included; a predicate has one per direction."""
    return FIRST_PREDICATE + 2 * num_predicates


def spatial_classes(boxes_IR4: Tensor, image_sizes_I2: Tensor) -> Tensor:
    """Spatial relation of every ordered pair of boxes (Yao et al. 2018, section 3.2).

    Class 1: the target lies inside the source; 2: it covers it; 3: IoU of at least 0.5; 4 to 11:
    the direction from target to source in steps of 45 degrees (4 starts at the right and goes up),
    when their centres are at most half the image's diagonal apart; 0: none.

    Args:
        boxes_IR4: corners in pixels.
        image_sizes_I2: height and width in pixels.

    Returns:
        `[I, R, R]` int64, first the target, then the source.
    """
    target, source = boxes_IR4[:, :, None, :], boxes_IR4[:, None, :, :]
    is_inside = _contains(source, target)
    is_cover = _contains(target, source)
    delta = _centres(source) - _centres(target)
    diagonal_I = image_sizes_I2.float().norm(dim=-1)
    is_near = delta.norm(dim=-1) <= diagonal_I[:, None, None] / 2
    angle = torch.atan2(-delta[..., 1], delta[..., 0]) % (2 * math.pi)  # y grows downwards
    direction = (angle / (math.pi / 4)).floor().clamp(0, 7).long() + FIRST_DIRECTION
    classes = torch.where(is_near, direction, 0)
    classes = torch.where(box_iou(target, source) >= 0.5, OVERLAP, classes)
    classes = torch.where(is_cover, COVER, classes)
    return torch.where(is_inside, INSIDE, classes)


def pair_geometry(boxes_IR4: Tensor, image_sizes_I2: Tensor) -> Tensor:
    """Relative geometry of every ordered pair of boxes (*reconstruction*).

    Returns:
        `[I, R, R, 6]`, target first: offset of the source's centre as a share of the image's width
        and height, logarithms of the ratios of widths and of heights (clipped to 4), IoU, and the
        distance of the centres as a share of the diagonal.
    """
    target, source = boxes_IR4[:, :, None, :], boxes_IR4[:, None, :, :]
    size_I2 = image_sizes_I2.float().flip(-1)[:, None, None, :]  # width, height
    delta = _centres(source) - _centres(target)
    ratios = (_sides(source) / _sides(target)).log().clamp(-4, 4)
    overlap = box_iou(target, source)[..., None]
    distance = delta.norm(dim=-1, keepdim=True) / size_I2.norm(dim=-1, keepdim=True)
    return torch.cat([delta / size_I2, ratios, overlap, distance], dim=-1)


def nearest_neighbours(features_IRD: Tensor, is_region_IR: Tensor, k: int) -> Tensor:
    """`[I, R, R]` bool: the source is among the target's k nearest by cosine of their features."""
    unit_IRD = F.normalize(features_IRD.float(), dim=-1)
    cosine_IRR = unit_IRD @ unit_IRD.transpose(1, 2)
    num_regions = cosine_IRR.shape[1]
    is_self = torch.eye(num_regions, dtype=torch.bool, device=cosine_IRR.device)
    cosine_IRR = cosine_IRR.masked_fill(is_self | ~is_region_IR[:, None, :], -math.inf)
    nearest = cosine_IRR.topk(min(k, num_regions), dim=-1)
    is_neighbour = torch.zeros_like(cosine_IRR, dtype=torch.bool)
    return is_neighbour.scatter(2, nearest.indices, nearest.values > -math.inf)


def visual_edges(
    features_MD: Tensor,
    boxes_M4: Tensor | None,
    image_sizes_I2: Tensor | None,
    layout: Layout,
    settings: VisualGraphSettings,
    relations_P4: Tensor | None = None,
) -> Edges:
    """The edges of a batch of images.

    Where any kind is asked for, every region also has an edge to itself: attention weighs a node's
    neighbours against each other, so without it a single neighbour would be attended whatever the
    type of its edge is (*reconstruction*).

    Where images are padded to equally many regions, the graph is of all pairs and `is_edge` says
    which of them count: its shape then depends on the number of images alone.

    Args:
        features_MD: features of all regions.
        boxes_M4: their boxes, or None where the shards have none; then there are no spatial edges.
        image_sizes_I2: height and width of each image, or None.
        layout: of the images' regions.
        settings: which kinds of edges.
        relations_P4: image, subject region, predicate, object region; regions count in their image.
    """
    is_region_IR = layout.is_row
    is_pair = is_region_IR[:, :, None] & is_region_IR[:, None, :]
    is_self = torch.eye(is_pair.shape[1], dtype=torch.bool, device=is_pair.device)
    planes: list[Tensor] = []
    geometry = None
    if boxes_M4 is not None and image_sizes_I2 is not None:
        boxes_IR4 = layout.pad(boxes_M4.float())
        geometry = pair_geometry(boxes_IR4, image_sizes_I2)
        if "spatial" in settings.edges:
            planes.append(spatial_classes(boxes_IR4, image_sizes_I2))
    if "neighbours" in settings.edges:
        is_neighbour = nearest_neighbours(
            layout.pad(features_MD), is_region_IR, settings.neighbours
        )
        planes.append(is_neighbour.long() * NEIGHBOUR)
    if "all" in settings.edges:
        planes.append(is_pair.long() * ANY)
    if "predicates" in settings.edges and relations_P4 is not None:
        planes += _predicate_planes(relations_P4, is_pair)
    if not planes:
        return _no_edges(layout, geometry)
    types = torch.stack(planes, -1).masked_fill(is_self[:, :, None], 0)
    types[..., 0] += SELF * is_self
    is_edge = (types > 0).any(-1) & is_pair
    if layout.is_padded:
        graph = GraphBatch.complete(layout.num_groups, layout.longest, is_pair.device)
        # a padding region keeps its edge to itself: all its attention must lie somewhere
        is_edge = (is_edge | is_self).flatten()
        return Edges(
            graph,
            types.flatten(0, 2),
            None if geometry is None else geometry.flatten(0, 2),
            is_edge,
        )
    chosen = image_E, target_E, source_E = is_edge.nonzero(as_tuple=True)
    start_E = layout.ptr[image_E]
    graph = _sorted_graph(layout, start_E + target_E, start_E + source_E)
    return Edges(graph, types[chosen], None if geometry is None else geometry[chosen])


def _no_edges(layout: Layout, geometry: Tensor | None) -> Edges:
    nothing = layout.ptr.new_zeros(0)
    graph = _sorted_graph(layout, nothing, nothing)
    return Edges(graph, nothing[:, None], None if geometry is None else geometry.flatten(0, 2)[:0])


def _sorted_graph(layout: Layout, target_E: Tensor, source_E: Tensor) -> GraphBatch:
    return GraphBatch.from_sorted_edges(
        layout.ptr, target_E, source_E, num_nodes=layout.num_rows, max_nodes=layout.longest
    )


def _predicate_planes(relations_P4: Tensor, is_pair: Tensor) -> list[Tensor]:
    """Two `[I, R, R]` planes of types: objects for their subjects, and the other way."""
    image, subject, predicate, obj = relations_P4.long().unbind(1)
    planes = []
    for target, source, inverse in ((subject, obj, 0), (obj, subject, 1)):
        plane = torch.zeros_like(is_pair, dtype=torch.long)
        plane[image, target, source] = FIRST_PREDICATE + 2 * predicate + inverse
        planes.append(plane)
    return planes


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes `[..., 4]` that broadcast; 0 where both have no area."""
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clamp_min(0).prod(-1)
    areas = [(b[..., 2:] - b[..., :2]).prod(-1) for b in (first, second)]
    return shared / (areas[0] + areas[1] - shared).clamp_min(1e-9)


def _contains(outer: Tensor, inner: Tensor) -> Tensor:
    return ((inner[..., :2] >= outer[..., :2]) & (inner[..., 2:] <= outer[..., 2:])).all(-1)


def _centres(boxes: Tensor) -> Tensor:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _sides(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp_min(1.0)
