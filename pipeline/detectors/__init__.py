"""Detectors: the networks that propose regions, and the one rule that keeps some of them."""
