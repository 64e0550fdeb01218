"""The formats, and the functions that read and write each."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import SettingsError
from pipeline.shards.convert import butd_tsv, hdf5, lxmert_tsv, npz, scan
from pipeline.shards.convert.source import ReadOptions, Source
from pipeline.shards.records import ImageRegions


@dataclass(frozen=True)
class Format:
    """Functions and properties of one format.

    Attributes:
        read: gives the splits of a file or folder; images are read lazily.
        write: writes a number of images to a file or folder and returns the paths; None for a
            format that is read alone.
        needs: attributes of `ImageRegions` without which an image cannot be written.
        keeps: attributes that the format can hold besides the features.
    """

    read: Callable[[Path, ReadOptions], list[Source]]
    write: Callable[[Iterable[ImageRegions], Path, int], list[Path]] | None
    needs: tuple[str, ...]
    keeps: tuple[str, ...]


FORMATS = {
    "scan": Format(scan.read, scan.write, scan.NEEDS, scan.KEEPS),
    "butd-tsv": Format(butd_tsv.read, butd_tsv.write, butd_tsv.NEEDS, butd_tsv.KEEPS),
    "lxmert-tsv": Format(lxmert_tsv.read, lxmert_tsv.write, lxmert_tsv.NEEDS, lxmert_tsv.KEEPS),
    "npz": Format(npz.read, npz.write, npz.NEEDS, npz.KEEPS),
    "hdf5": Format(hdf5.read, None, (), ()),
}

WRITTEN = {name: form for name, form in FORMATS.items() if form.write is not None}
"""The formats that regions can be exported to."""


def format_named(name: str) -> Format:
    """The format of that name.

    Raises:
        SettingsError: there is no such format.
    """
    if name not in FORMATS:
        raise SettingsError(f"no format {name!r}: expected one of {', '.join(FORMATS)}.")
    return FORMATS[name]
