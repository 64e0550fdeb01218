"""Options and arguments that several commands share, grouped so that the commands stay thin."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import click

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

shards_argument = click.argument("shards", type=click.Path(file_okay=False, path_type=Path))

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, not a table.")

max_megapixels_option = click.option(
    "--max-megapixels",
    type=click.FloatRange(min=0, min_open=True),
    default=80.0,  # pipeline.images.MAX_MEGAPIXELS; importing it here would import numpy for --help
    show_default=True,
    help="Largest picture to decode, in millions of pixels.",
)

model_option = click.option(
    "--model",
    metavar="NAME_OR_PATH",
    default="embedded",
    show_default=True,
    help="spaCy model: embedded, an installed package such as en_core_web_sm, or a folder.",
)

out_option = click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the shards; a run that was stopped goes on in it.",
)


def _item_source(name: Literal["images", "captions"], metavar: str, help: str) -> Decorator:
    """Options that say which items to work on; the command gets them under `name`.

    They are `--manifest FILE --root DIR`, or one option of that name in their place, and `--split`.
    """
    path = click.Path(path_type=Path)
    options = (
        click.option("--manifest", type=path, help="Manifest of the data set."),
        click.option("--root", type=path, help="Folder that the manifest's paths start from."),
        click.option("--split", "splits", multiple=True, help="Only this split; repeatable."),
        click.option(f"--{name}", type=path, metavar=metavar, help=help),
    )

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def with_items(*args: Any, **values: Any) -> Any:
            source = {option: values.pop(option) for option in ("manifest", "root", name)}
            items = _of_splits(_read_items(name, metavar, source), values.pop("splits"))
            return command(*args, **values, **{name: items})

        return _decorated(with_items, options)

    return add


image_source = _item_source("images", "DIR", "Folder of pictures, in place of a manifest.")

caption_source = _item_source(
    "captions", "FILE", "File of lines file#k<TAB>caption (.gz too), in place of a manifest."
)


def _read_items(name: str, metavar: str, source: dict[str, Path | None]) -> list[Any]:
    """The items of the manifest, or of the folder or file that stands in its place."""
    from pipeline.manifests.manifest import folder_images, load_manifest, tsv_captions

    manifest, root, own = source.values()
    if own is not None and manifest is None and root is None:
        return folder_images(own) if name == "images" else tsv_captions(own)
    if own is None and manifest is not None and root is not None:
        data_set = load_manifest(manifest)
        return data_set.images(root) if name == "images" else data_set.captions(root)
    given = [f"--{option}" for option, value in source.items() if value is not None]
    raise click.UsageError(
        f"expected either --manifest FILE and --root DIR, or --{name} {metavar}; "
        f"came {' and '.join(given) or 'none of them'}."
    )


def _of_splits(items: list[Any], splits: tuple[str, ...]) -> list[Any]:
    if not splits:
        return items
    known = dict.fromkeys(item.split for item in items)
    unknown = [split for split in splits if split not in known]
    if unknown:
        raise click.BadParameter(
            f"no split {unknown[0]!r}; there are {', '.join(known)}.", param_hint="--split"
        )
    return [item for item in items if item.split in splits]


def execution_options(*, shard_size: int, processes: bool, on_error: str = "stop") -> Decorator:
    """Options that say how a stage is run; the command gets them as `execution`.

    Args:
        shard_size: items in a shard, where the user does not say.
        processes: whether workers are processes, where the user does not say.
        on_error: `stop` or `skip`, where the user does not say.
    """
    options = (
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            help="Shards made at a time on this machine.  [default: its cores]",
        ),
        click.option(
            "--processes/--threads",
            default=processes,
            show_default=True,
            help="What the workers on this machine are.",
        ),
        click.option(
            "--scheduler", metavar="ADDRESS", help="Let the workers of this dask scheduler do it."
        ),
        click.option(
            "--gpus",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Workers with one GPU each, here or of the scheduler.",
        ),
        click.option(
            "--shard-size",
            type=click.IntRange(min=1),
            default=shard_size,
            show_default=True,
            help="Most items in a shard.",
        ),
        click.option(
            "--on-error",
            type=click.Choice(["stop", "skip"]),
            default=on_error,
            show_default=True,
            help="End at a bad item, or leave it out and list it in the sidecar.",
        ),
        click.option("--retry-failed", is_flag=True, help="Work again on the items that failed."),
        click.option(
            "--overwrite", is_flag=True, help="Delete the shards in --out and start afresh."
        ),
        click.option(
            "--log-json",
            metavar="FILE",
            help="Add a JSON object a line for each shard to FILE; - for standard output.",
        ),
    )
    names = ("workers", "processes", "scheduler", "gpus", "shard_size", "on_error")
    names += ("retry_failed", "overwrite", "log_json")

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def with_execution(*args: Any, **values: Any) -> Any:
            execution = _execution({name: values.pop(name) for name in names})
            return command(*args, execution=execution, **values)

        return _decorated(with_execution, options)

    return add


def _decorated(command: Command, options: Sequence[Decorator]) -> Command:
    """The command with options that `--help` lists in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def _execution(values: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    from pipeline.execution import ExecutionSettings

    try:
        return ExecutionSettings(**values)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise click.UsageError(f"these options exclude each other: {reason}.") from error
