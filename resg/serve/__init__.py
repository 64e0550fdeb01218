"""A page on this machine to search an index: `resg serve`."""
