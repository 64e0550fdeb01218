"""resg probe: ablation probes of a run on perturbed captions and graphs."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from resg.options import (
    device_option,
    json_option,
    pairs_option,
    parser_option,
    shards_option,
    split_option,
)


@click.command()
@click.option(
    "--run",
    "folder",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Run folder; a folder of seeds gives a table for each.",
)
@shards_option
@split_option
@pairs_option
@parser_option
@device_option
@json_option
def probe(
    folder: Path,
    shards: Path | None,
    split: str,
    pairs: Path | None,
    model: str,
    device: str,
    as_json: bool,
) -> None:
    """Score a run with subject and object exchanged, edges removed, and words shuffled.

    \b
    Example:
      resg probe --run runs/first --pairs data/scenes/hard_pairs.json
    """
    from resg.devices import choose_device
    from resg.evaluation.probes import probe_run
    from resg.live import caption_reader
    from resg.progress import probe_table
    from resg.run_folder import open_run, runs_in

    target = choose_device(device)
    folders = runs_in(folder)
    reports = {}
    for each in folders:
        run = open_run(each)
        reports[each.name] = probe_run(
            run, split, target, caption_reader(run, model).captions, shards, pairs
        )
    if as_json:
        told = {name: asdict(report) for name, report in reports.items()}
        click.echo(json.dumps(told if folders != [folder] else told[folder.name]))
        return
    for name, report in reports.items():
        click.echo(f"{name}\n{probe_table(report)}" if len(reports) > 1 else probe_table(report))
