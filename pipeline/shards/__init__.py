"""The HDF5 files between the two packages: schema, writer, reader, checks and converters."""
