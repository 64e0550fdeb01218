"""An explanation as one HTML file that needs no network, and as a PNG picture."""

from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resg.errors import ResgError
from resg.explain.difference import difference
from resg.explain.explanation import Explanation, Relations, ScoredCaption
from resg.explain.figure import (
    Figure,
    pair_figure,
    points,
    relation_figure,
    strongest_regions,
)
from resg.explain.png import draw
from resg.explain.svg import svg
from resg.live import load_picture
from resg.webpage import check_page_path, columns, html_page, html_table, photo_uri

PHOTO_SIDE = 1000
"""Pixels of the longer side of the photograph in a page."""


def save_explanation(
    explanation: Explanation,
    picture: Path,
    page: Path | None,
    png: Path | None = None,
    run: str = "",
) -> None:
    """Write an explanation as a page, as a picture, or as both.

    Args:
        explanation: of an image and a caption.
        picture: file of the image.
        page: HTML file to write.
        png: PNG file to write.
        run: name of the run that scored them.

    Raises:
        ResgError: the regions have no boxes or are those of another picture, or a file cannot be
            written.
        pipeline.errors.DataError: the picture cannot be read.
    """
    for out, suffix in ((page, ".html"), (png, ".png")):
        if out is not None:
            check_page_path(out, suffix)
    photo = load_picture(picture)
    if page is not None:
        page.write_text(explanation_page(explanation, photo, run), encoding="utf-8")
    if png is not None:
        explanation_picture(explanation, photo).save(
            png, "PNG", compress_level=3
        )  # nearly as small, much faster


def explanation_page(explanation: Explanation, photo: NDArray[np.uint8], run: str = "") -> str:
    """An explanation as one HTML page; all text in it is escaped.

    Args:
        explanation: of an image and a caption.
        photo: `[height, width, 3]` RGB, the image.
        run: name of the run that scored them.

    Raises:
        ResgError: the regions have no boxes, or those of another picture.
    """
    _check_photo(explanation, photo)
    caption, wrong = explanation.caption, explanation.wrong
    uri = photo_uri(photo, PHOTO_SIDE)
    drawn = [
        f"<figure>{svg(figure, 'photo', None if number else uri)}</figure>"
        for number, figure in enumerate(_figures(explanation))
    ]
    parts = [_terms(explanation) + _regions_table(explanation)]
    if wrong is not None:
        parts.append(_difference(explanation, wrong))
    body = [
        "<header><h1>Why this image and this caption match</h1>",
        f"<blockquote>{escape(caption.text)}</blockquote>",
        f"<p>{_score_text(caption)}</p></header>",
        columns(drawn[:-1]),
        f'<p class="note">{_figure_note(explanation)}</p>',
        columns(parts),
        "<h2>What relations did</h2>",
        columns([drawn[-1], _relation_notes(explanation)]),
        f'<p class="note">Image {escape(explanation.image_id)}{escape(_run_text(run))}.</p>',
    ]
    return html_page(f"{caption.text} - explanation", "\n".join(body))


def explanation_picture(explanation: Explanation, photo: NDArray[np.uint8]) -> Image.Image:
    """The figures of an explanation side by side.

    Args and errors as for `explanation_page`.
    """
    _check_photo(explanation, photo)
    return draw(_figures(explanation), photo)


def _figures(explanation: Explanation) -> list[Figure]:
    """Of the explained caption, of the nearest wrong one, and of the relations."""
    figures = [pair_figure(explanation, explanation.caption, "This caption")]
    if explanation.wrong is not None:
        figures.append(pair_figure(explanation, explanation.wrong, "Nearest wrong caption"))
    return [*figures, relation_figure(explanation)]


def _check_photo(explanation: Explanation, photo: NDArray[np.uint8]) -> None:
    if explanation.image_size is None or any(r.box is None for r in explanation.regions):
        raise ResgError(
            f"expected boxes of the regions of {explanation.image_id!r} to draw them, the features "
            "came without. Import them with their boxes, or extract regions of the picture."
        )
    size = photo.shape[0], photo.shape[1]
    if size != tuple(explanation.image_size):
        raise ResgError(
            f"expected the picture that the regions of {explanation.image_id!r} were found in, "
            f"{explanation.image_size[1]} x {explanation.image_size[0]} pixels, got "
            f"{size[1]} x {size[0]}."
        )


def _score_text(caption: ScoredCaption) -> str:
    return (
        f"Score: <strong>{points(caption.score)} points</strong> of 100, of which "
        f"{points(caption.global_part)} are of the whole image with the whole caption, and "
        f"{points(caption.node_part)} of regions with words."
    )


def _figure_note(explanation: Explanation) -> str:
    shares = explanation.caption.shares
    if not shares.any():
        return (
            "This matcher compares the image and the caption as wholes alone: no share belongs to "
            "a region or a word."
        )
    of_regions = np.abs(shares.sum(1))
    strongest = of_regions[strongest_regions(explanation.caption)].sum()
    unknown = " Words with (?) were not in training." if _has_unknown(explanation) else ""
    return (
        "The number below a word is its share of the score in points; below that are the regions "
        "it is joined with. Wider lines are larger shares; a line is dashed as the box of its "
        "region. Numbers and dashes are the same in all pictures. A word with a dashed frame "
        f"lowers the score. Of {len(explanation.regions)} regions the strongest are drawn for each "
        f"caption; for this one they hold {100 * strongest:.1f} of {100 * of_regions.sum():.1f} "
        f"points.{unknown}"
    )


def _has_unknown(explanation: Explanation) -> bool:
    captions = [explanation.caption, *([explanation.wrong] if explanation.wrong else [])]
    return not all(known for caption in captions for known in caption.is_known)


def _terms(explanation: Explanation) -> str:
    captions = [explanation.caption, *([explanation.wrong] if explanation.wrong else [])]
    head = ["Part of the score", "this", *(["nearest wrong"] if explanation.wrong else [])]
    parts = {
        "Whole image with whole caption": [c.global_part for c in captions],
        "Words that look for regions": [float(c.words_attend.sum()) for c in captions],
        "Regions that look for words": [float(c.regions_attend.sum()) for c in captions],
    }
    rows = [[name, *map(points, values)] for name, values in parts.items()]
    weight = explanation.caption.node_weight
    note = (
        f'<p class="note">Regions and words have the learned weight {weight:.2f}, the whole '
        f"{1 - weight:.2f}; parts are given with it.</p>"
    )
    foot = ["Score", *(points(c.score) for c in captions)]
    return f"<h2>Parts of the score</h2>{html_table(head, rows, foot)}{note}"


def _difference(explanation: Explanation, wrong: ScoredCaption) -> str:
    caption = explanation.caption
    causes = difference(caption, wrong)
    total = caption.score - wrong.score
    verdict = "wins by" if total > 0 else "loses by"
    rows = [[cause.text, points(cause.change)] for cause in causes]
    foot = ["Difference of the scores", points(total)]
    return (
        "<h2>What made the difference</h2>"
        f"<blockquote>{escape(wrong.text)}</blockquote>"
        f"<p>Against this caption, the highest of {explanation.rivals} other captions, the "
        f"explained one {verdict} {abs(100 * total):.1f} points. The parts add up:</p>"
        f"{html_table(['Part', 'points'], rows, foot)}"
    )


def _relation_notes(explanation: Explanation) -> str:
    def told(name: str, relations: Relations) -> str:
        if not relations.num_pairs:
            return f"<li>{name}: this matcher joins none.</li>"
        return (
            f"<li>{name}: {len(relations.tried)} of {relations.num_pairs} joined pairs were left "
            f"out in turn. All together: {points(relations.together)} points.</li>"
        )

    return (
        "<p>What a relation did is the score with it, less the score of the same pair encoded "
        "without it. A solid line raises the score, a dashed one lowers it.</p><ul>"
        f"{told('Regions', explanation.visual)}{told('Words', explanation.textual)}</ul>"
        '<p class="note">These effects do not add up, neither to the score nor to what all '
        "relations did together: where one is missing, attention gives its weight to the others. "
        "They are already in the shares of words and regions.</p>"
    )


def _regions_table(explanation: Explanation) -> str:
    shares = explanation.caption.shares.sum(1)
    if not shares.any():
        return ""
    rows = []
    for number, region in enumerate(strongest_regions(explanation.caption), start=1):
        of_words = explanation.caption.shares[region]
        best = np.argsort(-np.abs(of_words), kind="stable")[:3].tolist()
        named = ", ".join(explanation.caption.words[word] for word in best)
        name = f"{number}. {explanation.regions[region].name}: {named}"
        rows.append([name, points(float(shares[region]))])
    head = ["Region as the detector calls it, and the words it has most with", "points"]
    return f"<h2>Regions of this caption</h2>{html_table(head, rows)}"


def _run_text(run: str) -> str:
    return f", scored by the run {run}" if run else ""
