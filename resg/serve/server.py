"""Start and stop the server of `resg serve`."""

import errno
import socket
from collections.abc import Callable

from pipeline.errors import MissingExtraError
from resg.errors import ResgError
from resg.search.index import Index

IDLE_SECONDS = 5
MAX_CONNECTIONS = 64


def serve_index(
    index: Index,
    host: str,
    port: int,
    names: frozenset[str] = frozenset(),
    on_start: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve the page of an index until Ctrl-C.

    Args:
        index: is searched.
        host: address to listen on.
        port: to listen on; 0 for any that is free.
        names: host names that a request may name beside `localhost` and IP addresses.
        on_start: is called with the address of the page, once requests are accepted.

    Raises:
        MissingExtraError: the extra `serve` is not installed.
        ResgError: the port is in use, or the host is not of this machine.
    """
    require_serve()
    import uvicorn

    from resg.serve.app import create_app

    app = create_app(index, names)
    with listening(host, port) as listener:
        index.prepare()
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                lifespan="off",
                limit_concurrency=MAX_CONNECTIONS,
                timeout_keep_alive=IDLE_SECONDS,
            )
        )
        own_port = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        on_start(f"http://{shown}:{own_port}/")
        server.run(sockets=[listener])


def require_serve() -> None:
    """Check that the extra `serve` is installed.

    Raises:
        MissingExtraError: it is not.
    """
    for package in ("fastapi", "uvicorn"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError(package, "serve") from error


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ResgError: the port is in use or not allowed, or the host is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            told = f"port {port} of {host} is in use, perhaps by another resg serve."
        else:
            told = (
                f"expected an address and a port of this machine, got {host} and {port}: {error}."
            )
        raise ResgError(f"{told} Choose another: --port N, or 0 for any that is free.") from error
    return listener
