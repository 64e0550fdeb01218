"""The commands of `pipeline`, one module each: parse options, call one library function."""
