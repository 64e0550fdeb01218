"""Triton kernels of graph attention, without their launches."""
