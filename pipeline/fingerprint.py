"""Digests that identify the inputs, settings and weights that made a file."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def digest(value: Any) -> str:
    """SHA-256 (hexadecimal) of anything JSON can hold; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    # a caption of a JSON file may hold half of a surrogate pair
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def as_json(value: Any) -> Any:
    """The value as it reads back from JSON: lists for tuples, strings for keys."""
    return json.loads(json.dumps(value, allow_nan=False))


def file_digest(path: Path) -> str:
    """SHA-256 (hexadecimal) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """The differences of two fingerprints, one line per key: `detector: a1b2 here, c3d4 there`.

    Nested mappings are compared key by key and named with dots.
    """
    lines = []
    for key in sorted(set(ours) | set(theirs)):
        here, there = ours.get(key), theirs.get(key)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            lines += [f"{key}.{line}" for line in differences(here, there)]
        elif here != there:
            lines.append(f"{key}: {here!r} here, {there!r} there")
    return lines
