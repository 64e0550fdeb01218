"""A parsed caption for display: tables of its words and triples, its arcs as a picture."""

import json
from dataclasses import asdict

from spacy import displacy
from spacy.tokens import Doc

from pipeline.parsing.doc_triples import stored_objects, stored_triples
from pipeline.shards.records import CaptionSpan
from pipeline.tables import render_table


def word_table(doc: Doc) -> str:
    """Words with lemma, part of speech and arc, as text."""
    rows = []
    for token in doc:
        head = "" if token.head == token else f"{token.head.i} {token.head.text}"
        rows.append((token.i, token.text, token.lemma_, token.pos_, token.dep_, head))
    return render_table(("#", "word", "lemma", "pos", "arc", "head"), rows)


def triple_table(doc: Doc) -> str:
    """Triples with their tokens and the rule that made them, as text; lone objects come last."""
    rows = []
    objects, related = stored_objects(doc), set[int]()
    for triple in stored_triples(doc):
        related |= {triple.subject, triple.object}
        last = triple.attribute or objects[triple.object]
        cells = (_cell(objects[triple.subject]), _cell(triple.predicate), _cell(last))
        rows.append((*cells, triple.rule))
    rows += [(_cell(span), "", "", "") for i, span in enumerate(objects) if i not in related]
    return render_table(("subject", "predicate", "object or attribute", "rule"), rows)


def as_json_text(doc: Doc) -> str:
    """Words, objects and triples as JSON.

    Subjects and objects of triples are numbers of objects; an attribute is a span of its own.
    """
    words = [
        {
            "word": token.text,
            "lemma": token.lemma_,
            "pos": token.pos_,
            "arc": token.dep_,
            "head": token.head.i,
        }
        for token in doc
    ]
    objects, triples = stored_objects(doc), stored_triples(doc)
    content = {
        "caption": doc.text,
        "words": words,
        "objects": [asdict(span) for span in objects],
        "triples": [asdict(triple) for triple in triples],
    }
    return json.dumps(content, ensure_ascii=False)


def arcs_svg(doc: Doc) -> str:
    """The dependency arcs as SVG, drawn by displaCy."""
    return displacy.render(doc, style="dep", jupyter=False, options={"distance": 120})


def _cell(span: CaptionSpan) -> str:
    """A string and the tokens that say it: `fire hydrant [2:4]`."""
    return f"{span.string} [{span.start}:{span.end}]" if span.start >= 0 else span.string
