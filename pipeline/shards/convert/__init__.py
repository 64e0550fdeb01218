"""Convert region features of other projects to shards and back: one module per format."""
