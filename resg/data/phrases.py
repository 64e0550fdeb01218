"""Phrases of captions, `a red dog` of `a red dog sits under a table`, as captions of their own.

S phrases of a batch, I its images.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.shards.records import CaptionSpan, ParsedCaption
from resg.data.batches import PhraseBatch
from resg.data.subwords import SubwordTokeniser
from resg.data.swapping import phrase_of
from resg.data.tables import CaptionTable
from resg.data.vocabulary import Vocabulary
from resg.graphs.ragged import gather_groups, group_of_row, offsets

NOWHERE = CaptionSpan(-1, -1, "")


@dataclass(frozen=True)
class Entity:
    """An object of a caption: its normalised name, and its attributes."""

    name: str
    attributes: frozenset[str]


class PhraseTable:
    """The phrases of a split's captions, and which images show what they name.

    Args:
        captions: the parsed captions of the split, in the order of its table.
        image_row: as of `CaptionTable`, and so the other arguments.
    """

    def __init__(
        self,
        captions: Sequence[ParsedCaption],
        image_row: dict[str, int],
        vocabulary: Vocabulary,
        kinds: tuple[str, ...],
        tokeniser: SubwordTokeniser | None = None,
    ) -> None:
        self.entities: list[Entity] = []
        self.shown: defaultdict[int, dict[str, set[str]]] = defaultdict(dict)
        phrases: list[ParsedCaption] = []
        counts: list[int] = []
        for caption in captions:
            found = caption_entities(caption)
            own = [phrase_caption(caption, span) for span in caption.objects]
            counts.append(len(own))
            phrases += own
            self.entities += found
            shown = self.shown[image_row[caption.image_id]]
            for entity in found:
                shown.setdefault(entity.name, set()).update(entity.attributes)
        self.ptr = offsets(torch.tensor(counts))
        self.table = (
            CaptionTable(phrases, image_row, vocabulary, kinds, tokeniser) if phrases else None
        )

    def batch(
        self, rows: Tensor, images: Tensor, most: int, random: torch.Generator
    ) -> PhraseBatch | None:
        """Phrases of the captions `rows`, `most` at random; None where there are none.

        Args:
            rows: captions of the batch.
            images: `[I]` their images, rows of the image table.
            most: phrases.
            random: chooses them.
        """
        chosen, ptr = gather_groups(self.ptr, rows)
        if self.table is None or not len(chosen):
            return None
        kept = torch.randperm(len(chosen), generator=random)[:most].sort().values
        places = group_of_row(ptr, len(chosen))[kept]
        entities = [self.entities[index] for index in chosen[kept].tolist()]
        is_shown = torch.tensor(
            [[self._shows(image, one) for one in entities] for image in images.tolist()]
        )
        return PhraseBatch(self.table.batch(chosen[kept], places), places, is_shown)

    def _shows(self, image: int, entity: Entity) -> bool:
        """Whether a caption of the image names the entity with all of its attributes."""
        attributes = self.shown[image].get(entity.name)
        return attributes is not None and entity.attributes <= attributes


def caption_entities(caption: ParsedCaption) -> list[Entity]:
    """The objects of a caption, each with the attributes that its triples give it."""
    attributes: defaultdict[int, set[str]] = defaultdict(set)
    for triple in caption.triples:
        if triple.attribute is not None:
            attributes[triple.subject].add(triple.attribute.string)
    return [
        Entity(span.string, frozenset(attributes[index]))
        for index, span in enumerate(caption.objects)
    ]


def phrase_caption(caption: ParsedCaption, span: CaptionSpan) -> ParsedCaption:
    """An object of a caption, with what stands before its head and depends on it, as a caption."""
    start, end = phrase_of(caption, span, NOWHERE)
    inside = range(start, end)
    heads = [caption.heads[token] if caption.heads[token] in inside else token for token in inside]

    def moved(one: CaptionSpan) -> CaptionSpan:
        return replace(one, start=one.start - start, end=one.end - start)

    own = caption.objects.index(span)
    triples = [
        replace(triple, subject=0, attribute=moved(triple.attribute), predicate=NOWHERE)
        for triple in caption.triples
        if triple.attribute is not None
        and triple.subject == own
        and start <= triple.attribute.start
        and triple.attribute.end <= end
    ]
    return replace(
        caption,
        text=" ".join(caption.forms[start:end]),
        forms=caption.forms[start:end],
        lemmas=caption.lemmas[start:end],
        pos=caption.pos[start:end],
        heads=tuple(head - start for head in heads),
        deprels=caption.deprels[start:end],
        objects=(moved(span),),
        triples=tuple(triples),
    )
