"""The commands of `resg`, one module each: parse options, call one library function."""
