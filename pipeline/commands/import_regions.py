"""pipeline import-regions: region features of another project, to shards."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["scan", "butd-tsv", "lxmert-tsv", "npz"]),
    required=True,
    help="What the input is (docs/convert.md describes each).",
)
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE_OR_DIR",
    help="The file, gzip or not, or a folder of them.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="SHARDS",
    help="Folder for the shards.",
)
@click.option(
    "--ids",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Image ids of a SCAN array, one a line. Without: SPLIT:NUMBER.",
)
@click.option(
    "--split", metavar="NAME", help="Split of the images. Without, SCAN's is in the file's name."
)
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="Of features and scores; float32 loses nothing.",
)
@click.option(
    "--shard-size",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Images a shard; one shard is held in memory.",
)
@click.option(
    "--trust-pickle",
    is_flag=True,
    help="Load pickled arrays, which can run any code: only if you trust whoever made the file.",
)
def import_regions(
    format_name: str,
    source: Path,
    out: Path,
    ids: Path | None,
    split: str | None,
    dtype: str,
    shard_size: int,
    trust_pickle: bool,
) -> None:
    """Turn region features of another project into shards, all of them or none.

    \b
    Examples:
      pipeline import-regions --format scan --input data/f30k_precomp --out data/f30k-shards
      pipeline import-regions --format lxmert-tsv --input train2014_obj36.tsv.gz \\
          --out data/coco-shards --split train --dtype float32
    """
    from pipeline.shards.convert import importing  # lazy: --help stays fast
    from pipeline.shards.convert.source import ReadOptions

    report = importing.import_regions(
        source,
        out,
        format_name,
        options=ReadOptions(split=split, ids=ids, trust_pickle=trust_pickle),
        dtype=dtype,
        shard_size=shard_size,
        on_shard=lambda shard: click.echo(
            f"{shard.file}: {shard.counts['images']:,} images", err=True
        ),
    )
    for notice in report.notices:
        click.echo(f"Notice: {notice}", err=True)
    done = "Imported" if report.is_new else "Imported before, nothing to do:"
    click.echo(
        f"{done} {report.images:,} images, {report.regions:,} regions, "
        f"{report.shards:,} shards in {out}"
    )
