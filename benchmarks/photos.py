"""All presets on 600 real photographs, three seeds each: does every one of them learn?

    python benchmarks/photos.py --shards photos-shards --out photos-runs
    python benchmarks/photos.py --shards photos-shards --out photos-runs --table     # table alone

The shards hold the splits `train`, `val`, which chooses the weights, and `test`, on which nothing
is chosen. Sizes suit two CPU cores: the figures say that the presets work, not how good they are at
the size of their papers. With 36 steps an epoch, hardest negatives after one epoch, as by default,
collapse; here they come after three, when the learning rate has fallen.
"""

from preset_table import compare_presets

if __name__ == "__main__":
    compare_presets(__doc__ or "", epochs=6, changes=("loss.hardest_after=3",))
