"""What of a query does the matcher not know?"""

from collections.abc import Sequence

from pipeline.shards.records import ParsedCaption
from resg.data.vocabulary import Vocabulary
from resg.errors import ResgError

MAX_WORDS = 100
"""Words of the longest query; captions of the usual data sets have fewer than 60."""


def unknown_words(caption: ParsedCaption, vocabulary: Vocabulary | None) -> list[str]:
    """Words of a query that the matcher was not trained on, each once, in order.

    Args:
        caption: the query.
        vocabulary: words of the matcher; None where its encoder knows the parts of all words.

    Raises:
        ResgError: the query is too long, or most of its words are unknown.
    """
    words = [form.lower() for form in caption.forms if any(c.isalpha() for c in form)]
    if len(words) > MAX_WORDS:
        raise ResgError(
            f"expected a query of at most {MAX_WORDS} words, got {len(words):,}. "
            "Describe one picture in one sentence."
        )
    if vocabulary is None:
        return []
    unknown = list(dict.fromkeys(word for word in words if word not in vocabulary.word_index))
    if 2 * sum(word in unknown for word in words) > len(words):
        raise ResgError(
            f"the matcher knows too few words of the query {_shown(caption.text)!r}: it was not "
            f"trained on {', '.join(unknown[:5])}. Is it English? Try other words."
        )
    return unknown


def notice_of(unknown: Sequence[str]) -> str:
    """A line about unknown words; empty if there are none."""
    return f"The matcher does not know: {', '.join(unknown)}." if unknown else ""


def _shown(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}..."
