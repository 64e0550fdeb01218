"""Relationship-enhanced semantic graphs: train, evaluate, explain and search."""
