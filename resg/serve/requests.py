"""Which requests are answered, and how many at once."""

import ipaddress
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse

MAX_WAITING = 16
"""Requests that may wait for the matcher; more are told to come again."""

HEADERS = {
    "Cross-Origin-Resource-Policy": "same-origin",  # other sites cannot show the pictures
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

Next = Callable[[Request], Awaitable[Response]]


class Gate:
    """One request at a time reaches the matcher, and a few wait."""

    def __init__(self) -> None:
        self.waiting = threading.BoundedSemaphore(MAX_WAITING)
        self.working = threading.Lock()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Wait for the turn.

        Raises:
            HTTPException: too many wait already.
        """
        if not self.waiting.acquire(blocking=False):
            raise HTTPException(503, "too many requests at once. Try again in a moment.")
        try:
            with self.working:
                yield
        finally:
            self.waiting.release()


def add_checks(app: FastAPI, names: frozenset[str]) -> None:
    """Answer only requests that name this server, and not for other sites.

    A page of another site can send requests to this server under a host name of its own that leads
    here (DNS rebinding), or from the visitor's browser. The first name a host that is neither
    `localhost` nor an IP address, the second carry `Sec-Fetch-Site: cross-site`.
    """

    @app.middleware("http")
    async def check(request: Request, answer: Next) -> Response:
        host = request.headers.get("host", "")
        if not is_own_host(host, names):
            return JSONResponse(
                {"error": f"this server is not {host[:100]!r}. Start it with --allow-host."}, 421
            )
        site = request.headers.get("sec-fetch-site", "none")
        is_link = request.method == "GET" and request.url.path == "/"
        if site not in ("same-origin", "none") and not is_link:
            return JSONResponse({"error": "requests from other sites are refused."}, 403)
        response = await answer(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response


def is_own_host(host: str, names: frozenset[str]) -> bool:
    """Whether a `Host` header names this server: an IP address, `localhost`, or one of the names.

    Example:
        >>> [is_own_host(host, frozenset()) for host in ("127.0.0.1:80", "[::1]:80", "evil.org")]
        [True, True, False]
    """
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if name.lower() in {"localhost", *names}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
