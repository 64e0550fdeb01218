"""The interface of a stage, its execution settings and its report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.shards.failures import failure_lines
from pipeline.shards.records import Failure, ImageRegions, ParsedCaption
from pipeline.shards.schema import Kind

MANY_ITEMS = 5_000
"""Captions that two processes parse as soon as one does: starting them takes a few seconds."""

NOUNS: dict[Kind, str] = {"regions": "images", "captions": "captions"}
"""The noun for the items of a stage, by the kind of shard it makes."""


class Item(Protocol):
    """One image or caption to process, such as an `ImageItem` or a `CaptionItem`."""

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
    loads its model inside the worker and keeps it, once per process; tasks on threads share it.
    """

    @property
    def kind(self) -> Kind:
        """Kind of shard it makes."""
        ...

    @property
    def name(self) -> str:
        """Name of its command."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its full settings as JSON values, without the number of workers."""
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
        """What identifies its model, as JSON values; called once, before the run."""
        ...

    def process(
        self, items: Sequence[Any], threads: int
    ) -> Iterator[ImageRegions | ParsedCaption | Failure]:
        """Yield one outcome per item, in order; an outcome does not depend on the other items.

        A bad item gives a `Failure`. A `PipelineError` ends the run (no model, a missing extra).
        Any other exception counts against one item: it is tried again alone, and fails if it
        raises again.

        Args:
            items: the items of a shard, or some of them.
            threads: how many threads a model may use; the data must not depend on it.
        """
        ...


class ExecutionSettings(BaseModel):
    """How a stage is run. Only `shard_size` changes the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int | None = Field(
        default=None,
        ge=1,
        description="Shards made in parallel on this machine; default: its cores.",
    )
    processes: bool | None = Field(
        default=False,
        description="Workers are processes, not threads; none: for several shards and many items.",
    )
    scheduler: str | None = Field(
        default=None, description="Address of a dask scheduler whose workers run the tasks instead."
    )
    gpus: int = Field(
        default=0, ge=0, description="Workers with one GPU each; 0 for workers without."
    )
    shard_size: int = Field(default=256, ge=1, description="Maximum number of items per shard.")
    on_error: Literal["skip", "stop"] = Field(
        default="skip",
        description="A bad item is skipped and listed in the sidecar, or ends the run.",
    )
    retry_failed: bool = Field(
        default=False, description="Work again on the items that failed in shards that are there."
    )
    overwrite: bool = Field(default=False, description="Delete the existing shards and start over.")
    retries: int = Field(
        default=2,
        ge=0,
        description="Retries of a shard whose worker died or raised an error.",
    )
    progress: bool = Field(default=True, description="Show progress on standard error.")
    log_json: str | None = Field(
        default=None,
        description="File that gets one JSON line per shard; - for standard output.",
    )

    @model_validator(mode="after")
    def _options_agree(self) -> Self:
        if self.workers and self.scheduler:
            raise ValueError("workers is for this machine, and a scheduler has its own workers")
        if self.gpus and self.workers and self.gpus != self.workers:
            raise ValueError("there is one worker per GPU: give workers or gpus")
        if self.retry_failed and self.overwrite:
            raise ValueError("retry_failed keeps the shards that overwrite deletes")
        return self

    def decided(self, num_tasks: int, num_items: int) -> Self:
        """The settings with `processes` and `workers` decided for so many tasks and items.

        Few items are done here before processes would have started; who asks for several workers
        gets them.
        """
        if self.gpus or self.processes is not None or self.scheduler:
            return self.model_copy(update={"processes": bool(self.gpus or self.processes)})
        workers = self.workers or (1 if num_items < MANY_ITEMS else num_tasks)
        if min(num_tasks, workers) > 1:
            return self.model_copy(update={"processes": True})
        return self.model_copy(update={"processes": False, "workers": 1})

    @property
    def runs_here(self) -> bool:
        """Whether the tasks run one after the other in this process."""
        return self.workers == 1 and not (self.processes or self.scheduler or self.gpus)


@dataclass(frozen=True)
class StageReport:
    """What a stage made.

    Attributes:
        stage: name of the stage.
        kind: of the shards.
        out: the folder of shards.
        shards: number of shards of the run.
        shards_kept: shards that an earlier run made.
        records: images or captions in all shards.
        worked: items that this run processed.
        failures: the reason for each failed item, by id.
        seconds: duration of this run.
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
        """The result in one line, then the failures; the last line counts them."""
        noun = NOUNS[self.kind]
        kept = f" ({self.shards_kept:,} of them existed)" if self.shards_kept else ""
        lines = [
            f"{self.records:,} {noun} in {self.shards:,} shards{kept} in {self.out}; "
            f"{self.worked:,} {noun} in {self.seconds:.1f} s",
            *failure_lines(self.failures, self.records + len(self.failures), noun, self.out),
        ]
        if self.failures:
            lines[-1] += " After fixing them, run again with --retry-failed."
        return "\n".join(lines)
