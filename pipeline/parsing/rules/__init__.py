"""Relation triples by rules over dependency arcs: `relation_triples`, for any English pipeline."""
