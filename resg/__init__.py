"""Relationship-enhanced semantic graphs: train, evaluate, explain and search."""

from resg.shadowing import refuse_shadowed_pipeline

refuse_shadowed_pipeline()
