"""What `resg search` writes: a table, JSON, or a page with the pictures in it."""

import json
from html import escape
from pathlib import Path

from pipeline.errors import DataError
from resg.live import load_small_picture
from resg.search.index import Answer, Hit, Index
from resg.search.query import notice_of
from resg.webpage import html_page, photo_uri

THUMBNAIL = 320
"""Pixels of the longer side of a picture in a page."""


def answer_text(answer: Answer) -> str:
    """One line for each hit: rank, score, and the file, id or text."""
    width = len(str(len(answer.hits)))
    return "\n".join(
        f"{hit.rank:>{width}}  {hit.score:6.3f}  {_printable(hit.text or str(hit.path or hit.id))}"
        for hit in answer.hits
    )


def answer_json(index: Index, query: str, answer: Answer) -> str:
    """The whole answer as one JSON object."""
    content = {
        "index": str(index.folder.path),
        "query": query,
        "unknown_words": answer.unknown,
        "hits": [hit_json(hit) for hit in answer.hits],
    }
    return json.dumps(content, ensure_ascii=False)


def hit_json(hit: Hit) -> dict[str, object]:
    """A hit as JSON has it."""
    told: dict[str, object] = {"rank": hit.rank, "id": hit.id, "score": round(hit.score, 6)}
    if hit.text:
        return told | {"text": hit.text, "image_id": hit.image_id}
    return told | {"path": None if hit.path is None else str(hit.path)}


def answer_page(index: Index, query: str, answer: Answer) -> str:
    """The answer as one HTML file, with small copies of the pictures in it."""
    notice = notice_of(answer.unknown)
    what = "captions" if any(hit.text for hit in answer.hits) else "pictures"
    body = [
        f"<h1>{escape(query)}</h1>",
        f"<p>{escape(notice)}</p>" if notice else "",
        f'<p class="note">The {what} of {escape(index.folder.path.name)} that match best, with '
        "the score of each.</p>",
        f'<div class="columns">{"".join(_figure(index, hit) for hit in answer.hits)}</div>',
    ]
    return html_page(f"{query} - search", "\n".join(body))


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)


def _figure(index: Index, hit: Hit) -> str:
    caption = f"<blockquote>{escape(hit.text)}</blockquote>" if hit.text else ""
    picture = _picture(index.picture(hit.image_id), hit.image_id)
    told = f"{hit.rank}. {escape(hit.image_id)}, score {hit.score:.3f}"
    return f"<figure>{caption}{picture}<figcaption>{told}</figcaption></figure>"


def _picture(path: Path | None, name: str) -> str:
    if path is None:
        return "<p>No picture: the index was made of shards without --root.</p>"
    try:
        photo = load_small_picture(path, THUMBNAIL)
    except DataError as error:
        return f"<p>{escape(str(error))}</p>"
    return f'<img alt="{escape(name)}" src="{photo_uri(photo, THUMBNAIL)}">'
