"""Leave out the metadata of a PNG file, for which Pillow may refuse a picture with sound pixels.

Pillow limits what a text or a colour profile unpacks to, against files that fill the memory, and
refuses the whole picture above that limit. It also refuses a picture for a damaged chunk that any
decoder may pass over (PNG specification, third edition, 5.4: ancillary chunks).
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MAX_TEXT = 1 << 19
"""Largest text that is kept, in bytes; Pillow refuses one from twice as many."""

MAX_TEXTS = 1 << 24
"""Sum of the texts that are kept, in bytes; Pillow refuses four times as many."""

_TRANSPARENCY, _EXIF = b"tRNS", b"eXIf"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")


def without_metadata(path: Path) -> bytes | None:
    """A PNG file with its pixels alone, and what may tell their orientation.

    That is the EXIF chunk and small texts. Chunks of the picture stay even if they are damaged: the
    decoder is to say so.

    Returns:
        The shorter file; None if it is no PNG file, or has nothing that can be left out.
    """
    with path.open("rb") as stream:
        if stream.read(len(SIGNATURE)) != SIGNATURE:
            return None
        content = SIGNATURE + stream.read()
    kept, end, text_bytes = [SIGNATURE], len(SIGNATURE), 0
    for kind, data, chunk in _chunks(content):
        end += len(chunk)
        if kind in _TEXTS:
            size = _text_size(kind, data)
            if size > MAX_TEXT or text_bytes + size > MAX_TEXTS:
                continue
            text_bytes += size
        elif _is_ancillary(kind) and kind not in (_TRANSPARENCY, _EXIF):
            continue
        if kind == _TRANSPARENCY or not _is_ancillary(kind) or _is_sound(kind, data, chunk):
            kept.append(chunk)
    shorter = b"".join([*kept, content[end:]])
    return shorter if len(shorter) < len(content) else None


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Type, data and all bytes of each chunk, up to one that is cut."""
    place = len(SIGNATURE)
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length
        if end > len(content):
            return
        yield kind, content[place + 8 : end - 4], content[place:end]
        place = end


def _is_ancillary(kind: bytes) -> bool:
    return kind[:1].islower()


def _is_sound(kind: bytes, data: bytes, chunk: bytes) -> bool:
    return chunk[-4:] == struct.pack(">I", zlib.crc32(kind + data))


def _text_size(kind: bytes, data: bytes) -> int:
    """Bytes of a text when it is unpacked, counted up to just above the limit."""
    keyword, _, rest = data.partition(b"\0")
    if kind == b"iTXt" and rest.startswith(b"\1"):  # flag, method, language, translated keyword
        packed = rest[2:].split(b"\0", 2)[-1]
    elif kind == b"zTXt":
        packed = rest[1:]
    else:
        return len(data)
    try:
        return len(keyword) + len(zlib.decompressobj().decompress(packed, MAX_TEXT))
    except zlib.error:
        return len(data)  # Pillow takes it as an empty text
