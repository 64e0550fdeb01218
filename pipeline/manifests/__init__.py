"""Manifests of data sets, their caption files, and checks of a copy on disk."""
