"""Pictures and captions in, HDF5 shards of regions and relation triples out."""
