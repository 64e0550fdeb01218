"""resg serve INDEX: a page on this machine to search an index."""

from pathlib import Path

import click

from resg.options import device_option, own_matcher_option, root_option


@click.command()
@click.argument("index", type=click.Path(path_type=Path))
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; any other than this one lets other machines see the pictures.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 for any that is free.",
)
@click.option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="NAME",
    help="A host name by which browsers may reach the server; may be repeated.  "
    "[default: localhost and IP addresses]",
)
@root_option
@own_matcher_option
@click.option(
    "--detector",
    metavar="SPEC",
    help="The run's detector, where it does not come with the package.",
)
@device_option
def serve(
    index: Path,
    host: str,
    port: int,
    names: tuple[str, ...],
    root: Path | None,
    run: str | None,
    detector: str | None,
    device: str,
) -> None:
    """Serve a page to search INDEX: type a query, drop a picture, see why a picture was found.

    \b
    Examples:
      resg serve holiday.index
      resg serve holiday.index --port 0
    """
    from resg.search.index import Index
    from resg.serve.server import require_serve, serve_index

    require_serve()
    opened = Index(index, run, root=root, device=device, detector=detector)
    serve_index(
        opened,
        host,
        port,
        frozenset(name.lower() for name in names),
        on_start=lambda address: click.echo(f"{address}  (Ctrl-C stops)"),
    )
