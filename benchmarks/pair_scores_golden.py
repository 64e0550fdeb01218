r"""Scores of SCAN's released functions on random nodes, for the tests to compare with.

    python benchmarks/pair_scores_golden.py SCAN/model.py \
        > tests/resg/kernels/pair_scores/released_scan.json

SCAN is https://github.com/kuanghuei/SCAN; here at 8063557.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
from pair_scores_peers import released_scan

IMAGES, REGIONS, LENGTHS, WIDTH = 3, 5, [4, 3, 7, 2], 8  # its squeeze fails on 1 word


def main() -> None:
    warnings.filterwarnings("ignore", "Implicit dimension choice for softmax")
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(IMAGES, REGIONS, WIDTH, generator=generator).round(decimals=3)
    words = torch.randn(sum(LENGTHS), WIDTH, generator=generator).round(decimals=3)
    captions = torch.nn.utils.rnn.pad_sequence([*words.split(LENGTHS)], batch_first=True)
    scores = {
        f"{direction} {pooling}": released_scan(Path(sys.argv[1]), pooling)(
            images, captions, LENGTHS, direction
        ).tolist()
        for direction in ("t2i", "i2t")
        for pooling in ("Mean", "LogSumExp")
    }
    golden = {"lengths": LENGTHS, "regions": images.tolist(), "words": words.tolist()}
    print(json.dumps(golden | {"scores": scores}))


if __name__ == "__main__":
    main()
