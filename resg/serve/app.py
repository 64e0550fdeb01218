"""The web application of `resg serve`: one page, and what it asks for.

Pictures are named by their id in the index, and sent as small JPEG copies: no file is served as it
is, and none that the index does not name.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from pipeline.errors import PipelineError
from resg.errors import ResgError
from resg.explain.page import explanation_page
from resg.live import load_picture, load_small_picture
from resg.search.index import Answer, Hit, Index
from resg.search.query import notice_of
from resg.serve.requests import Gate, add_checks
from resg.webpage import jpeg

MAX_UPLOAD_BYTES = 20 * 2**20
MAX_HITS = 100
MAX_TEXT = 2000
"""Characters of a query in a request; the parser has a limit of its own, in words."""

SIDES = (320, 1600)
"""Pixels of the longer side that a picture is sent at."""

REMEMBERED = 512
"""Small copies of pictures that are kept in memory, some 20 kB each."""

STATIC = Path(__file__).parent / "static"
PAGES = {"/": "index.html", "/app.js": "app.js", "/style.css": "style.css"}

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; frame-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'"
)
EXPLANATION_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'; "
    "base-uri 'none'; form-action 'none'"
)

Text = Annotated[str, Query(max_length=MAX_TEXT)]
Count = Annotated[int, Query(ge=1, le=MAX_HITS)]
ImageId = Annotated[str, Query(alias="id", max_length=4096)]


def create_app(index: Index, names: frozenset[str] = frozenset()) -> FastAPI:
    """The application for an index.

    Args:
        index: is searched.
        names: host names that a request may name beside `localhost` and IP addresses.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    add_checks(app, names)
    gate = Gate()

    for address, file in PAGES.items():
        app.get(address)(_static(file))

    @app.get("/api/index")
    def about() -> dict[str, Any]:
        return {
            "name": index.folder.path.resolve().name,
            "images": len(index.images),
            "has_pictures": index.root is not None,
            "matcher": index.folder.state.matcher["run"],
        }

    @app.get("/api/search")
    def search(text: Text, k: Count = 20) -> dict[str, Any]:
        with gate.entered():
            return _told(index.search(text, k=k))

    @app.get("/api/similar")
    def similar(image_id: ImageId, k: Count = 20) -> dict[str, Any]:
        _known(index, image_id)
        with gate.entered():
            return _told(index.search(image_id=image_id, k=k))

    @app.post("/api/search")
    async def search_by_picture(request: Request, k: Count = 20) -> dict[str, Any]:
        content = await _uploaded(request)

        def answer() -> dict[str, Any]:
            with gate.entered(), _as_file(content) as picture:
                return _told(index.search(image=picture, k=k))

        return await run_in_threadpool(answer)

    @lru_cache(REMEMBERED)
    def small_copy(image_id: str) -> bytes:
        return jpeg(load_small_picture(_file(index, image_id), SIDES[0]), SIDES[0])

    @app.get("/picture")
    def picture(image_id: ImageId, side: int = SIDES[0]) -> Response:
        if side not in SIDES:
            raise HTTPException(400, f"expected a side of {' or '.join(map(str, SIDES))} pixels.")
        path = _file(index, image_id)
        with gate.entered():
            content = (
                small_copy(image_id)
                if side == SIDES[0]
                else jpeg(load_small_picture(path, side), side)
            )
        return Response(content, media_type="image/jpeg")

    @app.get("/explanation")
    def explanation(image_id: ImageId, text: Text) -> HTMLResponse:
        path = _file(index, image_id)
        with gate.entered():
            found = index.run.explain(path, text)
            page = explanation_page(found, load_picture(path), index.folder.state.matcher["run"])
        return HTMLResponse(page, headers={"Content-Security-Policy": EXPLANATION_POLICY})

    @app.exception_handler(PipelineError)
    @app.exception_handler(ResgError)
    def refused(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(HTTPException)
    def failed(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return JSONResponse({"error": f"{first['loc'][-1]}: {first['msg']}."}, 400)

    return app


def _static(file: str) -> Any:
    def page() -> FileResponse:
        return FileResponse(STATIC / file, headers={"Content-Security-Policy": PAGE_POLICY})

    return page


def _told(answer: Answer) -> dict[str, Any]:
    return {
        "notice": notice_of(answer.unknown),
        "hits": [_hit(hit) for hit in answer.hits],
    }


def _hit(hit: Hit) -> dict[str, Any]:
    return {"rank": hit.rank, "id": hit.id, "score": round(hit.score, 4)}


def _known(index: Index, image_id: str) -> None:
    """Refuse what the index does not name.

    Raises:
        HTTPException: there is no such image.
    """
    if image_id not in index.images.row_of:
        raise HTTPException(404, "there is no such picture in the index.")


def _file(index: Index, image_id: str) -> Path:
    """File of an indexed picture.

    Raises:
        HTTPException: it is not indexed, has no file, or its id leads out of the folder.
    """
    _known(index, image_id)
    path, parts = index.picture(image_id), PurePosixPath(image_id)
    if path is None:
        raise HTTPException(
            404, "the index was made of shards and has no pictures: start with --root DIR."
        )
    if parts.is_absolute() or ".." in parts.parts:  # an index from elsewhere may say anything
        raise HTTPException(404, "the picture is not in the folder of the index.")
    return path


async def _uploaded(request: Request) -> bytes:
    """The body of a request, which is never held when it is too long.

    Raises:
        HTTPException: it is too long or empty.
    """
    too_long = HTTPException(
        413, f"the picture has more than {MAX_UPLOAD_BYTES // 2**20} MiB. Make it smaller."
    )
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > MAX_UPLOAD_BYTES:
        raise too_long
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MAX_UPLOAD_BYTES:
            raise too_long
    if not content:
        raise HTTPException(400, "expected a picture, got nothing.")
    return bytes(content)


@contextmanager
def _as_file(content: bytes) -> Iterator[Path]:
    """A temporary file, as pictures are decoded from files under one policy."""
    with tempfile.TemporaryDirectory(prefix="resg-serve-") as folder:
        path = Path(folder) / "upload"
        path.write_bytes(content)
        yield path
