"""One page about runs: curves, recall, probes, ranks, confusions with their pictures, data."""
