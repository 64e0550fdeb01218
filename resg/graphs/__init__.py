"""Semantic graphs: the batch that kernels and models share, and how edges are built."""
