"""The rules on real captions and gold graphs, with the model that ships with the package."""

import gzip

import pytest

from pipeline.errors import SettingsError
from pipeline.manifests.manifest import file_captions
from pipeline.parsing.doc_triples import string_tuples
from pipeline.parsing.parser import EMBEDDED, LEARNED, RULES, load_parser, parse_texts
from pipeline.parsing.score import read_gold, score
from pipeline.parsing.stage import ParseCaptions
from pipeline.shards.records import ParsedCaption

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def rules_only():
    try:
        nlp = load_parser(EMBEDDED)
    except SettingsError:
        pytest.skip("the model that ships with the package is absent")
    if LEARNED in nlp.pipe_names:
        nlp.remove_pipe(LEARNED)
    if RULES not in nlp.pipe_names:
        nlp.add_pipe(RULES)
    return nlp


def test_rules_come_close_to_gold(shared_data, rules_only):
    rows = list(read_gold(shared_data / "factual" / "dev.csv.gz"))[:400]
    docs = parse_texts(rules_only, [row.caption for row in rows])
    scores = score([string_tuples(doc) for doc in docs], [row.triples for row in rows])
    assert scores.set_match > 60
    assert scores.spice_f1 > 80


def test_every_real_caption_gives_a_record(shared_data, rules_only, tmp_path):
    with gzip.open(shared_data / "captions" / "flickr30k_train.tsv.gz", "rb") as stream:
        lines = [stream.readline() for _ in range(500)]
    (tmp_path / "captions.tsv").write_bytes(b"".join(lines))
    items = file_captions(tmp_path / "captions.tsv")
    rules_only.to_disk(tmp_path / "model")
    outcomes = list(ParseCaptions(str(tmp_path / "model")).process(items, 1))
    assert all(isinstance(outcome, ParsedCaption) for outcome in outcomes)
    assert sum(bool(outcome.triples) for outcome in outcomes) > 0.95 * len(outcomes)
