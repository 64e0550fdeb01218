"""pipeline check-manifest MANIFEST --root DIR: check that a data set is complete."""

from pathlib import Path

import click

from pipeline.options import json_option, max_megapixels_option


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder that paths in the manifest are relative to.",
)
@click.option(
    "--decode/--no-decode",
    default=True,
    show_default=True,
    help="Decode each picture, or only check that its file exists.",
)
@max_megapixels_option
@json_option
def check_manifest(
    manifest: Path, root: Path, decode: bool, max_megapixels: float, as_json: bool
) -> None:
    """Count the images and captions below --root; list missing, duplicate and damaged ones.

    \b
    Example:
      pipeline check-manifest data_manifests/flickr30k.yaml --root data/flickr30k
    """
    from pipeline.manifests.check import check_manifest as compare
    from pipeline.manifests.manifest import load_manifest

    report = compare(load_manifest(manifest), root, decode=decode, max_megapixels=max_megapixels)
    click.echo(report.to_json() if as_json else report.to_table())
    raise SystemExit(0 if report.ok else 1)
