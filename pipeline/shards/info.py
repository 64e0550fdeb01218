"""Summarise the shards of a folder: what they contain and what made them."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from pipeline.fingerprint import digest
from pipeline.shards.schema import KINDS, Kind
from pipeline.shards.sidecar import Sidecar, find_sidecars, read_sidecar
from pipeline.tables import render_table


@dataclass(frozen=True)
class ShardsSummary:
    """The shards of one kind and split, made by one stage with one fingerprint.

    Attributes:
        kind: `regions` or `captions`.
        split: train, val, test or None.
        shards: number of files.
        counts: sums of the sidecars' counts, such as images and regions.
        failures: number of images or captions without a record.
        bytes: size of the shards without their sidecars.
        feature_width: D; None for captions or if there is no image.
        feature_dtype: float16 or float32, None for captions.
        fingerprint: of the weights or the model.
        settings: of the stage.
        packages: that wrote the shards.
    """

    kind: Kind
    split: str | None
    shards: int
    counts: Mapping[str, int]
    failures: int
    bytes: int
    feature_width: int | None
    feature_dtype: str | None
    fingerprint: Mapping[str, Any]
    settings: Mapping[str, Any]
    packages: Mapping[str, str]

    @property
    def mean_boxes(self) -> float | None:
        """Regions per image; None for captions or if there is no image."""
        images = self.counts.get("images", 0)
        return self.counts["regions"] / images if images else None


@dataclass(frozen=True)
class ShardsInfo:
    """The result of `summarise_shards`: one summary per kind, split and fingerprint."""

    directory: str
    summaries: tuple[ShardsSummary, ...]

    def to_json(self) -> str:
        """The summaries as JSON text."""
        summaries = [asdict(s) | {"mean_boxes": s.mean_boxes} for s in self.summaries]
        return json.dumps(
            {"directory": self.directory, "summaries": summaries}, ensure_ascii=False, indent=1
        )

    def to_table(self) -> str:
        """The summaries as text for a terminal."""
        tables = [f"{self.directory}"]
        regions = [s for s in self.summaries if s.kind == "regions"]
        captions = [s for s in self.summaries if s.kind == "captions"]
        if regions:
            columns = ("split", "shards", "images", "regions", "mean boxes", "width", "float")
            rows = [
                (
                    *(s.split or "all", s.shards, s.counts["images"], s.counts["regions"]),
                    s.mean_boxes or 0.0,
                    s.feature_width or 0,
                    (s.feature_dtype or "").removeprefix("float"),
                    *_last(s),
                )
                for s in regions
            ]
            tables.append(render_table((*columns, *_LAST), rows))
        if captions:
            columns = ("split", "shards", "captions", "tokens", "triples")
            rows = [
                (
                    *(s.split or "all", s.shards, s.counts["captions"], s.counts["tokens"]),
                    *(s.counts["triples"], *_last(s)),
                )
                for s in captions
            ]
            tables.append(render_table((*columns, *_LAST), rows))
        tables += [_maker(s) for s in {_maker(s): s for s in self.summaries}.values()]
        return "\n".join(tables)


_LAST = ("failed", "MB", "made by")


def _last(summary: ShardsSummary) -> tuple[int, float, str]:
    return summary.failures, summary.bytes / 1e6, digest(summary.fingerprint)[:8]


def _maker(summary: ShardsSummary) -> str:
    made_by = json.dumps(summary.fingerprint, sort_keys=True, ensure_ascii=False)
    packages = ", ".join(f"{name} {version}" for name, version in summary.packages.items())
    short = digest(summary.fingerprint)[:8]
    detector = summary.settings.get("detector")
    who = f"{detector} for {summary.settings.get('domain')}, " if detector else ""
    return f"made by {short}: {who}{made_by}\n  written with {packages}"


@dataclass(frozen=True)
class FailedItem:
    """An image or caption that is in no shard.

    Attributes:
        kind: of the shard that it should be in.
        split: of that shard.
        id: of the image or caption.
        reason: why it failed.
    """

    kind: Kind
    split: str | None
    id: str
    reason: str


@dataclass(frozen=True)
class FailedItems:
    """The result of `list_failures`."""

    directory: str
    failures: tuple[FailedItem, ...]

    def to_json(self) -> str:
        """The failures as JSON text."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1)

    def to_table(self) -> str:
        """The failures as text for a terminal."""
        if not self.failures:
            return f"{self.directory}: no image or caption failed"
        rows = [(f.kind, f.split or "all", f.id, f.reason) for f in self.failures]
        return render_table(("shards", "split", "id", "reason"), rows)


def list_failures(directory: Path | str) -> FailedItems:
    """The images and captions that failed, in the order of the shards.

    Raises:
        DataError: as for `summarise_shards`.
    """
    failures = (
        FailedItem(sidecar.kind, sidecar.split, id_, reason)
        for sidecar in _sidecars(Path(directory))
        for id_, reason in sidecar.failures.items()
    )
    return FailedItems(str(directory), tuple(failures))


def summarise_shards(directory: Path | str) -> ShardsInfo:
    """Summarise the sidecars of a folder, without opening a shard.

    Raises:
        DataError: there is no such folder, it has no shard, or a sidecar cannot be read.
    """
    groups: dict[tuple[Any, ...], list[Sidecar]] = {}
    for sidecar in _sidecars(Path(directory)):
        made_by = digest([sidecar.fingerprint, sidecar.settings, sidecar.packages])
        groups.setdefault((sidecar.kind, sidecar.split or "", made_by), []).append(sidecar)
    kinds = {kind: place for place, kind in enumerate(KINDS)}
    ordered = sorted(groups, key=lambda group: (kinds[group[0]], group[1:]))
    return ShardsInfo(str(directory), tuple(_summary(groups[group]) for group in ordered))


def _sidecars(directory: Path) -> list[Sidecar]:
    sidecars = [read_sidecar(path) for path in find_sidecars(directory)]
    if not sidecars:
        raise DataError(
            f"{directory} has no shards: expected regions-00000.json or captions-00000.json. "
            "Make them with pipeline extract-regions or parse-captions."
        )
    return sidecars


def _summary(sidecars: list[Sidecar]) -> ShardsSummary:
    first = sidecars[0]
    counts: Counter[str] = Counter()
    for sidecar in sidecars:
        counts.update(sidecar.counts)
    features = [s.datasets["features"] for s in sidecars if "features" in s.datasets]
    widest = max(features, key=lambda stored: stored.shape[1], default=None)
    return ShardsSummary(
        kind=first.kind,
        split=first.split,
        shards=len(sidecars),
        counts=dict(counts),
        failures=sum(len(sidecar.failures) for sidecar in sidecars),
        bytes=sum(sidecar.bytes for sidecar in sidecars),
        feature_width=widest.shape[1] if widest else None,
        feature_dtype={"<f2": "float16", "<f4": "float32"}.get(widest.dtype) if widest else None,
        fingerprint=dict(first.fingerprint),
        settings=dict(first.settings),
        packages=dict(first.packages),
    )
