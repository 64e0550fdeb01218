"""Say which images or captions failed, and where all of them are listed."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

SHOWN = 10
"""Failures that a command prints one by one."""


def failure_lines(failures: Mapping[str, str], total: int, noun: str, shards: Path) -> list[str]:
    """One line for each of the first failures, then one that counts them; empty without failures.

    Args:
        failures: the reason for each item that failed, by id.
        total: number of items, with those that failed.
        noun: of the items, in the plural.
        shards: folder whose sidecars list the failures.
    """
    if not failures:
        return []
    lines = [f"{id_}: {' '.join(why.split())}" for id_, why in islice(failures.items(), SHOWN)]
    if len(failures) > SHOWN:
        lines.append(f"... and {len(failures) - SHOWN:,} more")
    return [
        *lines,
        f"{len(failures):,} of {total:,} {noun} failed and were skipped; "
        f"pipeline info --failed {shards} lists them.",
    ]
