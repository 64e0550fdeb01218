"""Region features of other projects, to shards and back: one module a format, read and written in a stream."""
