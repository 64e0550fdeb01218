"""What a stage is, how it is to be run, and what came of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.shards.records import Failure, ImageRegions, ParsedCaption
from pipeline.shards.schema import Kind

NOUNS: dict[Kind, str] = {"regions": "images", "captions": "captions"}
"""What the items of a stage are called, by what it makes of them."""


class Item(Protocol):
    """One image or caption to work on, such as an `ImageItem` or a `CaptionItem`."""

    @property
    def id(self) -> str:
        """Unique in the run."""
        ...

    @property
    def split(self) -> str:
        """The split it belongs to; a shard holds one split."""
        ...

    @property
    def identity(self) -> tuple[str, ...]:
        """What must be equal for a run to be resumed."""
        ...


class Stage(Protocol):
    """One slow step that turns items into records.

    A stage is a small picklable frozen dataclass, defined in a module that workers can import. It
    opens its model inside the worker and keeps it there, once a process; on threads several tasks
    share it.
    """

    @property
    def kind(self) -> Kind:
        """What it makes."""
        ...

    @property
    def name(self) -> str:
        """Name of its command."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its full settings, as JSON can hold them; never the number of workers."""
        ...

    @property
    def names(self) -> Mapping[str, Sequence[str]] | None:
        """Class names by dataset, or None."""
        ...

    @property
    def dtype(self) -> str:
        """Float type of the shards."""
        ...

    def fingerprint(self) -> Mapping[str, Any]:
        """What identifies its model, as JSON can hold it; asked once, before the work."""
        ...

    def process(
        self, items: Sequence[Any], threads: int
    ) -> Iterator[ImageRegions | ParsedCaption | Failure]:
        """One outcome an item, in order, each the same whatever its neighbours in `items` are.

        A `Failure` is yielded for an item that is bad. A `PipelineError` that is raised ends the
        run (no model, a missing extra). Any other exception is put down to one item: that one is
        tried again alone, and fails if it raises again.

        Args:
            items: the items of a shard, or some of them.
            threads: how many threads a model may use; the data must not depend on it.
        """
        ...


class ExecutionSettings(BaseModel):
    """How a stage is run. Nothing here but `shard_size` shows in the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int | None = Field(
        default=None, ge=1, description="Shards made at a time on this machine; its cores without."
    )
    processes: bool = Field(
        default=False, description="Workers are processes, not threads of this one."
    )
    scheduler: str | None = Field(
        default=None, description="Address of a dask scheduler whose workers do the work instead."
    )
    gpus: int = Field(
        default=0, ge=0, description="Workers with one GPU each; 0 for workers without."
    )
    shard_size: int = Field(default=256, ge=1, description="Most items in a shard.")
    on_error: Literal["skip", "stop"] = Field(
        default="stop",
        description="A bad item ends the run, or is left out and listed in the sidecar.",
    )
    retry_failed: bool = Field(
        default=False, description="Work again on the items that failed in shards that are there."
    )
    overwrite: bool = Field(
        default=False, description="Delete the shards that are there and start afresh."
    )
    retries: int = Field(
        default=2,
        ge=0,
        description="How often a shard is tried again after its worker died or raised.",
    )
    progress: bool = Field(default=True, description="Show progress on standard error.")
    log_json: str | None = Field(
        default=None,
        description="File that gets a JSON object a line for each shard; - for stdout.",
    )

    @model_validator(mode="after")
    def _options_agree(self) -> Self:
        if self.workers and self.scheduler:
            raise ValueError("workers are counted on this machine, with a scheduler it has its own")
        if self.gpus and self.workers and self.gpus != self.workers:
            raise ValueError("there is one worker a GPU: give workers or gpus")
        if self.retry_failed and self.overwrite:
            raise ValueError("retry_failed keeps the shards that overwrite deletes")
        return self


@dataclass(frozen=True)
class StageReport:
    """What a stage made.

    Attributes:
        stage: name of the stage.
        kind: what it makes.
        out: the folder of shards.
        shards: number of shards of the whole run.
        shards_kept: those that were there before, and stayed.
        records: images or captions in all shards.
        worked: items that this run worked on.
        failures: reason by id of all items that are in no shard.
        seconds: time that this run took.
    """

    stage: str
    kind: Kind
    out: Path
    shards: int
    shards_kept: int
    records: int
    worked: int
    failures: Mapping[str, str]
    seconds: float

    def summary(self) -> str:
        """What came of it, in one to three lines."""
        noun = NOUNS[self.kind]
        kept = f" ({self.shards_kept:,} of them were there)" if self.shards_kept else ""
        lines = [
            f"{self.records:,} {noun} in {self.shards:,} shards{kept} in {self.out}; "
            f"{self.worked:,} {noun} in {self.seconds:.1f} s"
        ]
        if self.failures:
            first = next(iter(self.failures.items()))
            lines.append(
                f"{len(self.failures):,} {noun} failed and are left out, the first {first[0]}: "
                f"{first[1]}\nMend them and add --retry-failed; the sidecars list them all."
            )
        return "\n".join(lines)
