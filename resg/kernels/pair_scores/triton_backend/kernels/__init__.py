"""Triton kernels of pair scores, without their launches."""
