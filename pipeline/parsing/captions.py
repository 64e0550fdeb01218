"""Parse batches of captions into records of words, dependency arcs and triples."""

import threading
from collections.abc import Iterator, Sequence

from spacy.attrs import DEP, HEAD, LEMMA, ORTH, POS
from spacy.language import Language
from spacy.tokens import Doc

from pipeline.manifests.caption_text import clean_text, fault_of
from pipeline.manifests.manifest import CaptionItem
from pipeline.parsing.doc_triples import stored_graph
from pipeline.parsing.parser import BATCH, cached_parser
from pipeline.shards.records import Failure, ParsedCaption

_ONE_AT_A_TIME = threading.Lock()
"""A spaCy pipeline is not thread-safe; use processes for more cores."""


def parse_captions(
    model: str, items: Sequence[CaptionItem], threads: int
) -> Iterator[ParsedCaption | Failure]:
    """One outcome per caption, in order; one that cannot be parsed gives a Failure with the reason.

    Args:
        model: as for `load_parser`; it stays loaded.
        items: the captions.
        threads: how many threads a transformer may use.
    """
    nlp = cached_parser(model)
    if "transformer" in nlp.pipe_names:
        import torch

        torch.set_num_threads(threads)
    for start in range(0, len(items), BATCH):
        yield from _parse_batch(nlp, items[start : start + BATCH])


def caption_record(doc: Doc, item: CaptionItem) -> ParsedCaption:
    """The record of a parsed caption, with its original text."""
    strings = doc.vocab.strings
    columns = doc.to_array([ORTH, LEMMA, POS, DEP, HEAD]).T
    offsets = columns[4].astype("int64").tolist()  # stored unsigned
    forms, lemmas, pos, deprels = (
        tuple([strings[code] for code in codes]) for codes in columns[:4].tolist()
    )
    objects, triples, is_denying = stored_graph(doc)
    return ParsedCaption(
        caption_id=item.caption_id,
        image_id=item.image_id,
        text=item.text,
        forms=forms,
        lemmas=lemmas,
        pos=pos,
        heads=tuple([token + offset for token, offset in enumerate(offsets)]),
        deprels=deprels,
        objects=objects,
        triples=triples,
        negated=is_denying,
    )


def _parse_batch(nlp: Language, items: Sequence[CaptionItem]) -> Iterator[ParsedCaption | Failure]:
    texts = [clean_text(item.text) for item in items]
    faults = [fault_of(text) for text in texts]
    sound = [text for text, fault in zip(texts, faults, strict=True) if fault is None]
    with _ONE_AT_A_TIME:
        docs = iter(_parse(nlp, sound))
    for item, fault in zip(items, faults, strict=True):
        if fault is not None:
            yield Failure(item.caption_id, fault)
            continue
        doc = next(docs)
        if isinstance(doc, Doc):
            yield caption_record(doc, item)
        else:
            yield Failure(item.caption_id, f"it cannot be parsed: {type(doc).__name__}: {doc}")


def _parse(nlp: Language, texts: Sequence[str]) -> list[Doc | Exception]:
    """The parsed texts; if the batch raises, each is parsed alone, so that only one fails."""
    try:
        return list(nlp.pipe(texts, batch_size=BATCH))
    except Exception:
        return [_parse_alone(nlp, text) for text in texts]


def _parse_alone(nlp: Language, text: str) -> Doc | Exception:
    try:
        return nlp(text)
    except Exception as error:  # becomes the caption's Failure
        return error
