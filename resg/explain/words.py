"""An explanation in a few lines of text."""

import numpy as np

from resg.explain.explanation import Explanation
from resg.explain.figure import points

MAX_NAMED = 3


def explanation_text(explanation: Explanation) -> str:
    """The score and its parts, the words that it comes from, and the nearest wrong caption."""
    caption, wrong = explanation.caption, explanation.wrong
    lines = [
        f"score {points(caption.score)} points of 100: {points(caption.global_part)} of the whole "
        f"image with the whole caption, {points(caption.node_part)} of regions with words"
    ]
    shares = caption.shares.sum(0)
    if shares.any():
        best = np.argsort(-shares, kind="stable")[:MAX_NAMED].tolist()
        named = ", ".join(f"{caption.words[word]} {points(float(shares[word]))}" for word in best)
        lines.append(f"words with the greatest shares: {named}")
    if wrong is not None:
        lines.append(
            f"nearest wrong caption of {explanation.rivals}: {wrong.text!r}, "
            f"{points(wrong.score)} points"
        )
    unknown = [
        word for word, is_known in zip(caption.words, caption.is_known, strict=True) if not is_known
    ]
    if unknown:
        lines.append(f"words that training did not have: {', '.join(unknown)}")
    return "\n".join(lines)
