"""Triples of captions in shards, as JSON lines for other programs."""

import json
from pathlib import Path
from typing import cast

from pipeline.parsing.doc_triples import strings_of
from pipeline.shards.reader import ShardReader
from pipeline.shards.records import ParsedCaption


def write_triples(shards: Path, out: Path) -> int:
    """Write `{"caption": ..., "triples": [[s, r, o], ...]}`, one line per caption.

    The file is written under a temporary name and renamed. Returns the number of lines.

    Raises:
        DataError: the folder has no captions.
    """
    temporary = out.with_name(out.name + ".tmp")
    reader = ShardReader(shards, "captions")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            for index in range(len(reader)):
                caption = cast(ParsedCaption, reader[index])
                triples = strings_of(caption.objects, caption.triples)
                line = {"caption": caption.text, "triples": triples}
                stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    return len(reader)
