"""All presets on generated scenes, three seeds each: who tells the hard pairs apart?

    make demo                                      # makes the scenes and their shards
    python benchmarks/scenes.py --shards demo/shards --pairs demo/scenes/hard_pairs.json --out runs
    python benchmarks/scenes.py ... --table        # table alone

A hard pair is a caption and one that differs only in who stands in which relation to whom.
"""

from preset_table import compare_presets

if __name__ == "__main__":
    compare_presets(__doc__ or "", epochs=8)
