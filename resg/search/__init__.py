"""Search an index: by a text, by a picture, for images or for captions."""
