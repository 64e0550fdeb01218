"""A parsed caption for the eye: tables of words and triples, arcs as a picture."""

from rich.table import Table
from rich.text import Text
from spacy import displacy
from spacy.tokens import Doc

from pipeline.errors import DataError
from pipeline.parsing.doc_triples import stored_objects, stored_triples
from pipeline.parsing.parser import EMBEDDED, load_parser
from pipeline.parsing.text import clean_text, fault_of
from pipeline.shards.records import CaptionSpan


def parse_caption(text: str, model: str = EMBEDDED) -> Doc:
    """Parse one caption.

    Raises:
        DataError: it has nothing to parse.
        SettingsError: the model is not there.
    """
    cleaned = clean_text(text)
    fault = fault_of(cleaned)
    if fault:
        raise DataError(f"{fault}. Give a caption in English, such as 'a man riding a horse'.")
    return load_parser(model)(cleaned)


def word_table(doc: Doc) -> Table:
    """Words with lemma, part of speech and arc."""
    table = Table("#", "word", "lemma", "pos", "arc", "head")
    for token in doc:
        head = "" if token.head == token else f"{token.head.i} {token.head.text}"
        row = (str(token.i), token.text, token.lemma_, token.pos_, token.dep_, head)
        table.add_row(*(Text(cell) for cell in row))
    return table


def triple_table(doc: Doc) -> Table:
    """Triples with their tokens and the rule that made them; objects in none stand alone."""
    table = Table("subject", "predicate", "object or attribute", "rule")
    objects, related = stored_objects(doc), set[int]()
    for triple in stored_triples(doc):
        related |= {triple.subject, triple.object}
        last = triple.attribute or objects[triple.object]
        cells = (_cell(objects[triple.subject]), _cell(triple.predicate), _cell(last))
        table.add_row(*cells, Text(triple.rule))
    for index, span in enumerate(objects):
        if index not in related:
            table.add_row(_cell(span), "", "", "")
    return table


def arcs_svg(doc: Doc) -> str:
    """The dependency arcs as SVG, drawn by displaCy."""
    return displacy.render(doc, style="dep", jupyter=False, options={"distance": 120})


def _cell(span: CaptionSpan) -> Text:
    """A string and the tokens that say it: `fire hydrant [2:4]`."""
    cell = Text(span.string)
    if span.start >= 0:
        cell.append(f" [{span.start}:{span.end}]", style="dim")
    return cell
