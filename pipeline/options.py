"""Options and arguments that several commands of the pipeline share."""

from pathlib import Path

import click

shards_argument = click.argument("shards", type=click.Path(path_type=Path), metavar="SHARDS")
"""The folder of shards that a command reads; whether it is one is the library's question."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, not a table.")
