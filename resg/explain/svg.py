"""Figures as SVG, inline in a page."""

from collections.abc import Sequence
from html import escape

from resg.explain.figure import WIDTH, Figure, Line, Mark, Text

FONT = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"


def svg(figure: Figure, photo_id: str, photo: str | None = None) -> str:
    """A figure as an `svg` element, as wide as its surroundings let it be.

    Args:
        figure: what to draw.
        photo_id: id of the photograph in the page.
        photo: URI of the photograph for the first figure of a page; the others refer to it.
    """
    image = ""
    if figure.photo is not None:
        x0, y0, x1, y1 = figure.photo
        image = f'<use href="#{photo_id}" x="{x0:.1f}" y="{y0:.1f}"/>'
        if photo is not None:
            image = (
                f'<defs><image id="{photo_id}" href="{photo}" width="{x1 - x0:.1f}" '
                f'height="{y1 - y0:.1f}" preserveAspectRatio="none"/></defs>{image}'
            )
    marks = "".join(_element(mark) for mark in figure.marks)
    return (
        f'<svg viewBox="-2 0 {WIDTH + 4:.0f} {figure.height:.0f}" role="img" '
        f'font-family="{FONT}" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(figure.title)}</title>{image}{marks}</svg>"
    )


def _element(mark: Mark) -> str:
    if isinstance(mark, Text):
        weight = ' font-weight="bold"' if mark.is_bold else ""
        anchor = ' text-anchor="middle"' if mark.is_middle else ""
        return (
            f'<text x="{mark.x:.1f}" y="{mark.y:.1f}" font-size="{mark.size:g}" '
            f'fill="{mark.colour}"{weight}{anchor}>{escape(mark.text)}</text>'
        )
    if isinstance(mark, Line):
        (x0, y0), (x1, y1) = mark.start, mark.end
        shape = f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" fill="none"'
        return _outline(shape, mark.colour, mark.width, mark.dash)
    x0, y0, x1, y1 = mark.corners
    shape = f'<rect x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}"'
    if mark.fill is None:
        return _outline(f'{shape} fill="none"', mark.colour, 2, mark.dash)
    return f'{shape} rx="3" fill="{mark.fill}" stroke="{mark.colour}"{_dashes(mark.dash)}/>'


def _outline(shape: str, colour: str, width: float, dash: Sequence[float]) -> str:
    """A shape on a white ground, so that it is seen on any photograph."""
    ground = f'{shape} stroke="#ffffff" stroke-opacity="0.75" stroke-width="{width + 2:.1f}"/>'
    return f'{ground}{shape} stroke="{colour}" stroke-width="{width:.1f}"{_dashes(dash)}/>'


def _dashes(dash: Sequence[float]) -> str:
    return f' stroke-dasharray="{" ".join(f"{length:g}" for length in dash)}"' if dash else ""
