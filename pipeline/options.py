"""Options and arguments that several commands share."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import click

from pipeline.completion import completing

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

shards_argument = click.argument("shards", type=click.Path(file_okay=False, path_type=Path))

WRITTEN_FORMATS = ("scan", "butd-tsv", "lxmert-tsv", "npz")  # `convert.formats.WRITTEN`


def format_option(*more: str) -> Decorator:
    """`--format`, with the formats that can be written, and more that can be read."""
    return click.option(
        "--format",
        "format_name",
        type=click.Choice([*WRITTEN_FORMATS, *more]),
        required=True,
        help="Format of the other project (described in docs/convert.md).",
    )


device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:N]",
    shell_complete=completing(["auto", "cpu", "cuda"]),
    help="Where the network runs; auto takes a GPU if the detector's library sees one (resg doctor "
    "lists them).",
)

complete_detector = completing(
    ["photos", "scenes", "photos:", "onnx:", "torchvision:", "detectron2:", "vg-attributes:"]
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, not a table.")

max_megapixels_option = click.option(
    "--max-megapixels",
    type=click.FloatRange(min=0, min_open=True),
    default=80.0,  # pipeline.images.MAX_MEGAPIXELS; importing it here would import numpy for --help
    show_default=True,
    help="Largest picture to decode, in megapixels.",
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
    help="Folder of the shards; running again resumes a stopped run.",
)


def _item_source(name: Literal["images", "captions"], metavar: str, help: str) -> Decorator:
    """Options that select the items; the command receives them as `name`.

    They are `--manifest FILE --root DIR`, or instead one option called `name`, and `--split`.
    """
    path = click.Path(path_type=Path)
    options = (
        click.option("--manifest", type=path, help="Manifest of the data set."),
        click.option(
            "--root", type=path, help="Folder that paths in the manifest are relative to."
        ),
        click.option(
            "--split", "splits", multiple=True, help="Process only this split; may be repeated."
        ),
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


image_source = _item_source(
    "images", "DIR", "Folder of pictures or one picture, instead of a manifest."
)

caption_source = _item_source(
    "captions",
    "FILE",
    "File of captions, instead of a manifest: lines file#k<TAB>caption, CSV or TSV with a header, "
    "JSON lines, Karpathy's or COCO's JSON; may be .gz.",
)


def _read_items(name: str, metavar: str, source: dict[str, Path | None]) -> list[Any]:
    """The items of the manifest, or of the folder or file given instead."""
    from pipeline.manifests.manifest import file_captions, load_manifest

    manifest, root, own = source.values()
    if own is not None and manifest is None and root is None:
        return _folder_images(own) if name == "images" else file_captions(own)
    if own is None and manifest is not None and root is not None:
        data_set = load_manifest(manifest)
        return data_set.images(root) if name == "images" else data_set.captions(root)
    given = [f"--{option}" for option, value in source.items() if value is not None]
    raise click.UsageError(
        f"expected either --manifest FILE and --root DIR, or --{name} {metavar}; "
        f"got {' and '.join(given) or 'none of them'}."
    )


def _folder_images(folder: Path) -> list[Any]:
    """The pictures of a folder; what is passed over is said."""
    from pipeline.manifests.picture_folder import read_picture_folder

    found = read_picture_folder(folder)
    notice = found.notice()
    if notice:
        click.echo(notice, err=True)
    return found.images


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


on_error_option = click.option(
    "--on-error",
    type=click.Choice(["skip", "stop"]),
    default="skip",
    show_default=True,
    help="Skip a bad item and list it in the sidecar, or stop at the first.",
)


def execution_options(*, shard_size: int, processes: bool | None) -> Decorator:
    """Options for running a stage; the command receives them as `execution`.

    Args:
        shard_size: default number of items per shard.
        processes: whether workers are processes by default; None for many items alone.
    """
    options = (
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            help="Shards made in parallel on this machine.  [default: its cores]",
        ),
        click.option(
            "--processes/--threads",
            default=processes,
            show_default="processes for 5,000 items or more" if processes is None else True,
            help="Kind of the workers on this machine.",
        ),
        click.option(
            "--scheduler", metavar="ADDRESS", help="Use the workers of this dask scheduler."
        ),
        click.option(
            "--gpus",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            help="Number of workers with one GPU each, here or at the scheduler.",
        ),
        click.option(
            "--shard-size",
            type=click.IntRange(min=1),
            default=shard_size,
            show_default=True,
            help="Maximum number of items per shard.",
        ),
        on_error_option,
        click.option("--retry-failed", is_flag=True, help="Process the failed items again."),
        click.option(
            "--overwrite", is_flag=True, help="Delete the shards in --out and start over."
        ),
        click.option(
            "--log-json",
            metavar="FILE",
            help="Append one JSON line per shard to FILE; - for standard output.",
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
    """Add options to a command, in the order of `--help`."""
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
        raise click.UsageError(f"these options cannot be combined: {reason}.") from error
