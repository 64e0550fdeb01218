"""Click options that several commands share, grouped so that the commands stay thin."""

import click

max_megapixels_option = click.option(
    "--max-megapixels",
    type=click.FloatRange(min=0, min_open=True),
    default=80.0,  # pipeline.images.MAX_MEGAPIXELS; importing it here would import numpy for --help
    show_default=True,
    help="Largest picture to decode, in millions of pixels.",
)
