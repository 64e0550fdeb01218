"""Triples of captions in shards, as JSON lines for other programs."""

import json
from pathlib import Path
from typing import cast

from pipeline.parsing.strings import strings_of
from pipeline.shards.convert.output import new_file
from pipeline.shards.reader import ShardReader
from pipeline.shards.records import ParsedCaption


def write_triples(shards: Path, out: Path, *, plain: bool = False, overwrite: bool = False) -> int:
    """Write one JSON line per caption: its ids, text, and triples `[s, r, o]`.

    A caption that denies something has `"negated": true` too.

    Args:
        shards: folder of shards of captions.
        out: the file, gzipped if its name ends in `.gz`; it gets its name when it is complete.
        plain: write text and triples alone.
        overwrite: replace a file that exists.

    Returns:
        The number of lines.

    Raises:
        DataError: the folder has no captions, or the file exists.
    """
    reader = ShardReader(shards, "captions")
    with new_file(out, overwrite=overwrite) as stream:
        for record in reader:
            caption = cast(ParsedCaption, record)
            ids = {"caption_id": caption.caption_id, "image_id": caption.image_id}
            triples = strings_of(caption.objects, caption.triples)
            line = ({} if plain else ids) | {"caption": caption.text, "triples": triples}
            if caption.negated and not plain:
                line["negated"] = True
            stream.write(json.dumps(line, ensure_ascii=False).encode("utf-8") + b"\n")
    return len(reader)
