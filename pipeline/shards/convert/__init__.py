"""Region features of other projects, to shards and back: one module a format, all in a stream."""
