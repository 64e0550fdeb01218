"""Graphs over regions and words: the batch that kernels take, and how edges are built."""
