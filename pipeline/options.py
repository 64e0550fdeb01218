"""Options and arguments that several commands share, grouped so that the commands stay thin."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]

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


def image_source(command: Command) -> Command:
    """Options that say which pictures to work on; the command gets them as `images`.

    They are `--manifest FILE --root DIR`, or `--images DIR` in their place, and `--split`.
    """

    @functools.wraps(command)
    def with_images(*args: Any, images: Path | None, **options: Any) -> Any:
        from pipeline.manifests.manifest import Manifest, folder_images

        items = _load(options, images, "--images DIR", folder_images, Manifest.images)
        return command(*args, images=items, **options)

    return _manifest_options(
        click.option(
            "--images",
            type=click.Path(path_type=Path),
            help="Folder of pictures, in place of a manifest.",
        )(with_images)
    )


def caption_source(command: Command) -> Command:
    """Options that say which captions to work on; the command gets them as `captions`.

    They are `--manifest FILE --root DIR`, or `--captions FILE.tsv` in their place, and `--split`.
    """

    @functools.wraps(command)
    def with_captions(*args: Any, captions: Path | None, **options: Any) -> Any:
        from pipeline.manifests.manifest import Manifest, tsv_captions

        items = _load(options, captions, "--captions FILE", tsv_captions, Manifest.captions)
        return command(*args, captions=items, **options)

    return _manifest_options(
        click.option(
            "--captions",
            type=click.Path(path_type=Path),
            help="File of lines file#k<TAB>caption (.gz too), in place of a manifest.",
        )(with_captions)
    )


def _manifest_options(command: Command) -> Command:
    path = click.Path(path_type=Path)
    for option in (
        click.option("--split", "splits", multiple=True, help="Only this one; may be repeated."),
        click.option("--root", type=path, help="Folder that the manifest's paths start from."),
        click.option("--manifest", type=path, help="Manifest of the data set."),
    ):
        command = option(command)
    return command


def _load(
    options: dict[str, Any],
    own: Path | None,
    own_option: str,
    read_own: Callable[[Path], list[Any]],
    read_manifest: Callable[[Any, Path], list[Any]],
) -> list[Any]:
    """Take the options of the source out of `options`; the items that they name."""
    from pipeline.manifests.manifest import load_manifest

    manifest, root, splits = (options.pop(name) for name in ("manifest", "root", "splits"))
    if own is not None and manifest is None and root is None:
        items = read_own(own)
    elif own is None and manifest is not None and root is not None:
        items = read_manifest(load_manifest(manifest), root)
    else:
        raise click.UsageError(
            f"expected either --manifest FILE and --root DIR, or {own_option}; came "
            + (
                " and ".join(
                    name
                    for name, value in (
                        ("--manifest", manifest),
                        ("--root", root),
                        (own_option.split()[0], own),
                    )
                    if value is not None
                )
                or "none of them"
            )
            + "."
        )
    return _of_splits(items, splits)


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


def execution_options(
    *, shard_size: int, processes: bool, on_error: str = "stop"
) -> Callable[[Command], Command]:
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

        decorated = with_execution
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return add


def _execution(values: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    from pipeline.execution import ExecutionSettings

    try:
        return ExecutionSettings(**values)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise click.UsageError(f"these options exclude each other: {reason}.") from error
