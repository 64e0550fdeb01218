"""The commands of `pipeline`, one per module: each parses options and calls one function."""
