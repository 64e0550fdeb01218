"""A network without detectron2 or torchvision whose number of proposals the image decides."""

import numpy as np
import torch
from torch import nn

from pipeline.detectors.base import DetectorInfo
from pipeline.detectors.resizing import ResizePolicy
from pipeline.detectors.torch_backend import Proposals, best_class_columns, clip_boxes

CLASSES, ATTRIBUTES, WIDTH = 3, 2, 6


class MarkedPixels(nn.Module):
    """A proposal around each pixel whose blue is above 200; boxes are regressed for each class."""

    def __init__(self):
        super().__init__()
        made = torch.Generator().manual_seed(0)
        self.features = nn.Linear(3, WIDTH)
        self.scores = nn.Linear(WIDTH, CLASSES + 1)
        self.regression = nn.Linear(WIDTH, 4 * CLASSES)
        self.attributes = nn.Linear(WIDTH, ATTRIBUTES)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=made)

    def forward(self, images_B3HW):
        found = [self._of_image(image) for image in images_B3HW]
        boxes, pixels = (torch.cat(parts) for parts in zip(*found, strict=True))
        features = self.features(pixels / 255)
        scores = self.scores(features).softmax(-1)[:, :-1]
        boxes = boxes + best_class_columns(self.regression(features), scores)
        return Proposals(
            clip_boxes(boxes, images_B3HW),
            scores,
            features,
            self.attributes(features).sigmoid(),
            [len(rows) for rows, _ in found],
        )

    def _of_image(self, image_3HW):
        y, x = (image_3HW[2] > 200).nonzero().unbind(1)
        return torch.stack([x - 2, y - 2, x + 3, y + 3], 1).float(), image_3HW[:, y, x].T


def marked_image(count, height=40, width=50):
    """`[3, height, width]` with that many marked pixels."""
    random = np.random.default_rng(count)
    image = random.integers(0, 200, (3, height * width)).astype(np.float32)
    image[2, random.permutation(height * width)[:count]] = 250
    return image.reshape(3, height, width)


def marked_info(**changes):
    settings = {
        "name": "marked",
        "domain": "marked pixels",
        "classes": ("a", "b", "c"),
        "attributes": ("light", "dark"),
        "feature_width": WIDTH,
        "resize": ResizePolicy(short_side=24, max_side=400),
        "channels": "RGB",
        "pixel_mean": (0, 0, 0),
        "pixel_std": (255, 255, 255),
    }
    return DetectorInfo(**(settings | changes))
