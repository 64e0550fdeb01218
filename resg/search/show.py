"""What `resg search` writes: a table, JSON, or a page with the pictures in it."""

import base64
import html
import json
from pathlib import Path

from pipeline.errors import DataError
from resg.live import thumbnail
from resg.search.index import Answer, Hit, Index
from resg.search.query import notice_of

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
    figures = "\n".join(_figure(index, hit) for hit in answer.hits)
    return PAGE.format(
        query=html.escape(query),
        notice=f"<p>{html.escape(notice)}</p>" if notice else "",
        count=len(index.images),
        figures=figures,
    )


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)


def _figure(index: Index, hit: Hit) -> str:
    name = html.escape(hit.image_id)
    caption = f"<p>{html.escape(hit.text)}</p>" if hit.text else ""
    return (
        f"<li><figure>{_picture(index.picture(hit.image_id), name)}<figcaption>{caption}"
        f"<span>{hit.rank}.</span> {name} <span>{hit.score:.3f}</span></figcaption></figure></li>"
    )


def _picture(path: Path | None, name: str) -> str:
    if path is None:
        return "<p>no picture: the index was made of shards</p>"
    try:
        content = base64.b64encode(thumbnail(path, THUMBNAIL)).decode("ascii")
    except DataError:
        return f"<p>{name} cannot be read</p>"
    return f'<img alt="{name}" src="data:image/jpeg;base64,{content}">'


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{query}</title>
<style>
 body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 1.5rem; color: #1b1b1b; background: #fff }}
 ol {{ list-style: none; padding: 0; display: grid; gap: 1.5rem;
      grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)) }}
 figure {{ margin: 0 }}
 img {{ max-width: 100%; border-radius: .3rem; display: block }}
 figcaption {{ overflow-wrap: anywhere; color: #333 }}
 figcaption p {{ margin: .3rem 0 }}
</style>
<h1>{query}</h1>
{notice}
<p>The best matches among {count:,} pictures, and the score of each.</p>
<ol>
{figures}
</ol>
</html>
"""
