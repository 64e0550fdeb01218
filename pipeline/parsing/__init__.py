"""Captions to words, dependency arcs and relation triples, with spaCy."""
