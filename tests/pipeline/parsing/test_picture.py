"""The picture of a caption shows all words, arcs and triples within its width."""

import itertools
import re
import xml.etree.ElementTree as ET

import pytest

from pipeline.parsing.parser import parse_caption
from pipeline.parsing.picture import WIDTH, caption_svg

SVG = "{http://www.w3.org/2000/svg}"
LONG = (
    "In front of a brick building, three elderly men with long hair and extraordinarily "
    "multicoloured & hand-made coats are playing acoustic guitars while a woman reads a newspaper"
)


@pytest.fixture(scope="module")
def drawn():
    doc = parse_caption(LONG)
    return doc, ET.fromstring(caption_svg(doc))


def test_every_word_is_shown_whole(drawn):
    doc, svg = drawn
    texts = [node.text for node in svg.iter(f"{SVG}text")]
    for token in doc:
        assert token.text in texts


def test_every_triple_is_shown(drawn):
    doc, svg = drawn
    texts = [node.text for node in svg.iter(f"{SVG}text")]
    assert doc._.triples
    for triple in doc._.triples:
        assert f"({', '.join(triple.strings)})" in texts


def test_long_captions_wrap_and_no_text_leaves_the_picture(drawn):
    doc, svg = drawn
    words = {token.text for token in doc}
    rows = {node.get("y") for node in svg.iter(f"{SVG}text") if node.text in words}
    assert len(rows) > 1
    for node in svg.iter(f"{SVG}text"):
        x, half = float(node.get("x", 0)), 4 * len(node.text or "")
        left, right = (
            (x, x + 2 * half) if node.get("text-anchor") == "start" else (x - half, x + half)
        )
        assert left >= 0
        assert right <= WIDTH


def test_words_of_a_line_do_not_overlap(drawn):
    doc, svg = drawn
    words = {token.text for token in doc}
    lines: dict[str, list[tuple[float, float]]] = {}
    for node in svg.iter(f"{SVG}text"):
        if node.text in words:
            x, half = float(node.get("x", 0)), 4 * len(node.text)
            lines.setdefault(node.get("y", ""), []).append((x - half, x + half))
    for spans in lines.values():
        spans.sort()
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


def test_arcs_of_one_line_are_paths(drawn):
    doc, _ = drawn
    paths = re.findall(r'fill="none" stroke', caption_svg(parse_caption("a man riding a horse")))
    assert len(paths) == 2 * 4  # an arc and its arrow for each word but the root
    assert len(doc) > 20
