"""Options that several commands share."""

from pathlib import Path

import click

shards_option = click.option(
    "--shards",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of region and caption shards.",
)

device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="cpu, cuda, cuda:1, ...; auto takes the GPU if there is one.",
)

split_option = click.option("--split", default="test", show_default=True, help="Split to evaluate.")

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

pairs_option = click.option(
    "--pairs",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file of hard pairs, as make-scenes writes it; adds the accuracy on them.",
)
