"""Pages for people: one HTML file each, which needs no network and no script."""

import base64
import io
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resg.errors import SettingsError

HEAD = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
)
JPEG_QUALITY = 85


def check_page_path(path: Path, suffix: str = ".html") -> None:
    """Refuse a path that no such file can be written to, before the work for it is done.

    Raises:
        SettingsError: the name does not end in the suffix, or there is no such folder.
    """
    if path.suffix.lower() != suffix:
        raise SettingsError(f"expected a name that ends in {suffix}, got {path.name!r}.")
    if not path.parent.is_dir():
        raise SettingsError(f"expected a folder for {path.name}, there is no {path.parent}.")


def html_page(title: str, body: str) -> str:
    """A whole page; its policy forbids every request.

    Args:
        title: a text; it is escaped.
        body: HTML.
    """
    css = files("resg").joinpath("webpage.css").read_text(encoding="utf-8")
    return (
        f"{HEAD}<title>{escape(title)}</title><style>{css}</style></head>\n"
        f"<body><main>{body}</main></body></html>\n"
    )


def html_table(head: Iterable[str], rows: Iterable[Iterable[str]], foot: Iterable[str] = ()) -> str:
    """A table of texts, which are escaped; all columns but the first are of numbers.

    Example:
        >>> html_table(["word", "share"], [["<b>", "0.1"]]).count("&lt;b&gt;")
        1
    """

    def row(cells: Iterable[str], tag: str) -> str:
        marked = (
            f"<{tag}{' class=number' if column else ''}>{escape(cell)}</{tag}>"
            for column, cell in enumerate(cells)
        )
        return f"<tr>{''.join(marked)}</tr>"

    last = [*foot]
    end = f"<tfoot>{row(last, 'td')}</tfoot>" if last else ""
    body = "".join(row(cells, "td") for cells in rows)
    return (
        f'<div class="wide"><table><thead>{row(head, "th")}</thead>'
        f"<tbody>{body}</tbody>{end}</table></div>"
    )


def columns(parts: Iterable[str]) -> str:
    """Parts of a page side by side where it is wide enough, else one below the other."""
    return f'<div class="columns">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def photo_uri(photo: NDArray[np.uint8], side: int) -> str:
    """A photograph as a data URI.

    Args and what is made smaller as for `jpeg`.
    """
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg(photo, side)).decode('ascii')}"


def jpeg(photo: NDArray[np.uint8], side: int) -> bytes:
    """A photograph as a JPEG file, made smaller where its longer side is above `side` pixels.

    Args:
        photo: `[height, width, 3]` RGB.
        side: in pixels.
    """
    image = Image.fromarray(photo)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
