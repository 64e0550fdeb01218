"""Pictures of coloured blocks, of several sizes."""

import numpy as np


def pictures():
    rng = np.random.default_rng(0)
    blocks = [rng.integers(0, 256, (6, 8, 3)), rng.integers(0, 256, (6, 8, 3))]
    large = [np.kron(b, np.ones((20, 20, 1))).astype(np.uint8) for b in blocks]
    return [large[0], large[1], large[0][:100], large[1][:, :90]]
