"""Real captions become records."""

import gzip

import pytest

from pipeline.manifests.manifest import file_captions
from pipeline.parsing.embedded import EMBEDDED
from pipeline.parsing.stage import ParseCaptions
from pipeline.shards.records import ParsedCaption

pytestmark = pytest.mark.real_data


def test_every_real_caption_gives_a_record(shared_data, tmp_path):
    with gzip.open(shared_data / "captions" / "flickr30k_train.tsv.gz", "rb") as stream:
        lines = [stream.readline() for _ in range(500)]
    (tmp_path / "captions.tsv").write_bytes(b"".join(lines))
    items = file_captions(tmp_path / "captions.tsv")
    outcomes = list(ParseCaptions(EMBEDDED).process(items, 1))
    assert all(isinstance(outcome, ParsedCaption) for outcome in outcomes)
    assert sum(bool(outcome.triples) for outcome in outcomes) > 0.95 * len(outcomes)
