"""Join the ids that different projects give to one image.

COCO's image 391895 is `391895` in the features of bottom-up attention, `COCO_val2014_000000391895`
in LXMERT's, `COCO_val2014_000000391895.jpg` in Karpathy's captions and `000000391895.jpg` in the
release of 2017; Flickr30K's images have their `.jpg` or not.
"""

import re
import unicodedata
from collections.abc import Iterable

_COCO_NUMBER = re.compile(r"(?:COCO_(?:train|val|test)20\d\d_)?0*(\d+)")
_ENDING = re.compile(r"\.(?:jpe?g|png|webp|bmp|gif|tiff?)$", re.IGNORECASE)


def image_key(image_id: str) -> str:
    """What the usual ids of one image have in common: the name alone, COCO's as a plain number.

    Example:
        >>> image_key("val2014/COCO_val2014_000000391895.jpg"), image_key("dog.jpg")
        ('391895', 'dog')
    """
    name = unicodedata.normalize("NFC", image_id).rpartition("/")[2]
    name = _ENDING.sub("", name)
    number = _COCO_NUMBER.fullmatch(name)
    return number[1] if number else name


def join_ids(ours: Iterable[str], theirs: Iterable[str]) -> dict[str, str]:
    """Which of their ids names the same image as each of ours; ids without a partner are left out.

    Equal ids are joined first. Others are joined by their key, if it belongs to one id alone on
    each side: `cats/1.jpg` and `dogs/1.jpg` are no two names of `1`.

    Args:
        ours: ids of images; repeated ones are one.
        theirs: likewise.
    """
    ours, theirs = dict.fromkeys(ours), dict.fromkeys(theirs)
    joined = {id_: id_ for id_ in ours if id_ in theirs}
    if len(joined) == len(ours):
        return joined
    partners = by_key(theirs)
    for key, own in by_key(ours).items():
        partner = partners.get(key, [])
        if len(own) == len(partner) == 1:
            joined[own[0]] = partner[0]
    return joined


def by_key(ids: Iterable[str]) -> dict[str, list[str]]:
    """The ids that have each key."""
    found: dict[str, list[str]] = {}
    for id_ in ids:
        found.setdefault(image_key(id_), []).append(id_)
    return found
