"""Options that several commands share."""

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from pipeline.completion import completing

shards_option = click.option(
    "--shards",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of region and caption shards.",
)

matcher_option = click.option(
    "--run",
    default="photos",
    show_default=True,
    metavar="RUN",
    help="The matcher: photos, which comes with the package, or a run folder (./photos for a "
    "folder of that name).",
)

own_matcher_option = click.option(
    "--run", metavar="RUN", help="The run that made the index, if its folder was moved."
)

root_option = click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where the pictures are now, if their folder was moved.",
)

detector_option = click.option(
    "--detector",
    metavar="SPEC",
    help="The detector of the run's regions, where it does not come with the package.",
)

parser_option = click.option(
    "--model",
    metavar="NAME_OR_PATH",
    default="embedded",
    show_default=True,
    help="spaCy model that parsed the run's captions.",
)

device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:N]",
    shell_complete=completing(["auto", "cpu", "cuda"]),
    help="Where the model runs; auto takes a GPU if PyTorch sees one (resg doctor lists them).",
)

split_option = click.option("--split", default="test", show_default=True, help="Split to evaluate.")

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

pairs_option = click.option(
    "--pairs",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file of hard pairs, as make-scenes writes it; adds the accuracy on them.",
)


def complete_preset(
    context: click.Context, parameter: click.Parameter, typed: str
) -> list[CompletionItem]:
    """Names of presets that begin as typed, else files, for the shell's completion."""
    from resg.presets import preset_names

    return completing(preset_names())(context, parameter, typed)


def complete_setting(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """Names of settings that begin as typed, each with its `=`, for the shell's completion."""
    from resg.presets import setting_paths

    return [f"{path}=" for path in setting_paths() if path.startswith(typed)]
