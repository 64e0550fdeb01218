"""pipeline import-regions: convert region features of another project to shards."""

from pathlib import Path

import click

from pipeline.options import format_option, on_error_option


@click.command()
@format_option("hdf5")
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE_OR_DIR",
    help="The file (may be gzipped), or a folder of such files.",
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
    help="File of image ids: one per line in the images' order, or lines OLD<TAB>NEW.  "
    "[default: the input's ids, SPLIT:NUMBER for scan]",
)
@click.option(
    "--split", metavar="NAME", help="Split of the images.  [default for scan: from the file name]"
)
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="Float type of features and scores; float32 is lossless.",
)
@click.option(
    "--shard-size",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Images per shard; one shard is held in memory.",
)
@click.option(
    "--trust-pickle",
    is_flag=True,
    help="Load pickled arrays. A pickle can run any code: use only for files that you trust.",
)
@on_error_option
@click.option(
    "--overwrite", is_flag=True, help="Replace the images that --out has of the same split."
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
    on_error: str,
    overwrite: bool,
) -> None:
    """Convert region features of another project to shards.

    Files of several splits go into one folder, one import each. An import that stops leaves nothing
    behind; one that was interrupted goes on when it is repeated.

    \b
    Examples:
      pipeline import-regions --format scan --input data/f30k_precomp --out data/f30k-shards
      pipeline import-regions --format lxmert-tsv --input train2014_obj36.tsv.gz \\
          --out data/coco-shards --split train --dtype float32
      pipeline import-regions --format lxmert-tsv --input val2014_obj36.tsv.gz \\
          --out data/coco-shards --split val --dtype float32
    """
    from pipeline.shards.convert import importing  # lazy: --help stays fast
    from pipeline.shards.convert.source import ReadOptions

    report = importing.import_regions(
        source,
        out,
        format_name,
        options=ReadOptions(
            split=split, ids=ids, trust_pickle=trust_pickle, skip_faulty=on_error == "skip"
        ),
        dtype=dtype,
        shard_size=shard_size,
        overwrite=overwrite,
        on_shard=lambda shard: click.echo(
            f"{shard.file}: {shard.counts['images']:,} images", err=True
        ),
    )
    for notice in report.notices:
        click.echo(f"Notice: {notice}", err=True)
    done = "Imported" if report.is_new else "Already imported, nothing to do:"
    click.echo(
        f"{done} {report.images:,} images, {report.regions:,} regions, "
        f"{report.shards:,} shards in {out}"
    )
    click.echo(report.failed(out), nl=False)
