"""How often does the test for generated scenes raise an alarm, on scenes and on photographs?

The photographs are those beside the repository, in ../shared.

python benchmarks/detector_domain.py
"""

import tempfile
from pathlib import Path

from pipeline.detectors.domain import is_scene
from pipeline.images import load_image
from pipeline.scenes.dataset import make_scenes

DATA = Path(__file__).parents[2] / "shared" / "data"
SEEDS, IMAGES = range(1, 6), 500


def main():
    with tempfile.TemporaryDirectory() as temporary:
        alarms = 0
        for seed in SEEDS:
            folder = Path(temporary) / str(seed)
            make_scenes(folder, num_images=IMAGES, seed=seed)
            alarms += count_alarms(folder / "images")
    print(f"generated scenes: {alarms} alarms of {len(SEEDS) * IMAGES}, none allowed")
    for name in ("photos_fullres", "photos_224"):
        folder = DATA / name / "images"
        count = len(list(folder.iterdir()))
        print(f"{name}: {count_alarms(folder)} alarms of {count}, at least 95 %")


def count_alarms(folder):
    return sum(not is_scene(load_image(path)) for path in folder.iterdir())


if __name__ == "__main__":
    main()
