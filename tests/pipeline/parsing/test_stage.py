"""parse-captions and its stage, show-caption and export-triples, on a pipeline without weights."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.manifests.manifest import CaptionItem
from pipeline.parsing.stage import ParseCaptions
from pipeline.parsing.strings import strings_of
from pipeline.shards.reader import ShardReader
from pipeline.shards.records import Failure

BAD = {
    "empty": " ",
    "punctuation": "?!",
    "arabic": "رجل يركب حصانا",
    "long": "word " * 10_000,
    "surrogate": "a dog \udcff",
    "raises": "a boom",
}
GOOD = {
    "plain": "a dog on a bench",
    "emoji": "a dog 🐶 on a bench",
    "html": "<b>a dog</b> on a bench",
    "control": "a dog\x00on a\x1bbench",
    "capitals": "A DOG ON A BENCH",
}


def items(captions):
    return [CaptionItem(name, f"{name}.jpg", text, "all") for name, text in captions.items()]


@pytest.fixture
def stage(model_folder):
    return ParseCaptions(str(model_folder))


@pytest.mark.parametrize("name", GOOD)
def test_odd_caption_is_parsed_and_keeps_its_text(stage, name):
    (record,) = stage.process(items({name: GOOD[name]}), 1)
    assert record.text == GOOD[name]
    assert [record.objects[t.subject].string for t in record.triples] == ["dog"]
    assert record.heads[record.forms.index("a")] == 1


def test_bad_captions_cost_no_neighbour(stage):
    captions = {}
    for (bad, text), (good, other) in zip(
        BAD.items(), [*GOOD.items(), ("last", "a dog")], strict=True
    ):
        captions |= {good: other, bad: text}
    outcomes = list(stage.process(items(captions), 1))
    assert [o.id if isinstance(o, Failure) else o.caption_id for o in outcomes] == list(captions)
    assert {o.id for o in outcomes if isinstance(o, Failure)} == set(BAD)
    assert all(o.reason for o in outcomes if isinstance(o, Failure))


@pytest.fixture
def shards(model_folder, tmp_path):
    lines = [f"{n}.jpg#0\t{t}" for n, t in GOOD.items()] + ["x.jpg#0\t...", "y.jpg#0\ta red bench"]
    (tmp_path / "captions.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = ["parse-captions", "--captions", str(tmp_path / "captions.tsv"), "--workers", "1"]
    command += ["--threads", "--out", str(tmp_path / "shards"), "--model", str(model_folder)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return tmp_path / "shards"


def test_command_writes_what_the_reader_reads(shards):
    reader = ShardReader(shards, "captions")
    assert len(reader) == len(GOOD) + 1
    assert reader[0].forms == ("a", "dog", "on", "a", "bench")
    assert reader[0].triples[0].predicate.string == "on"
    assert reader.sidecars[0].failures == {"x.jpg#0": "the caption has no word: '...'"}
    assert reader.fingerprint["model"]["digest"]


def exported(shards, out, *options):
    command = ["export-triples", str(shards), "--out", str(out), *options]
    return CliRunner().invoke(main, command)


def test_export_gives_a_line_a_caption(shards, tmp_path):
    out = tmp_path / "new/folder/triples.jsonl"
    result = exported(shards, out)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert lines[-1] == {
        "caption_id": "y.jpg#0",
        "image_id": "y.jpg",
        "caption": "a red bench",
        "triples": [["bench", "is", "red"]],
    }
    assert len(lines) == len(GOOD) + 1


def test_export_without_ids_and_gzipped(shards, tmp_path):
    out = tmp_path / "triples.jsonl.gz"
    assert exported(shards, out, "--plain").exit_code == 0
    lines = [json.loads(line) for line in gzip.decompress(out.read_bytes()).splitlines()]
    assert lines[0] == {"caption": "a dog on a bench", "triples": [["dog", "on", "bench"]]}


def test_export_overwrites_on_request_alone(shards, tmp_path):
    out = tmp_path / "triples.jsonl"
    out.write_text("mine")
    refused = exported(shards, out)
    assert (refused.exit_code, out.read_text()) == (1, "mine")
    assert "exists already" in refused.stderr
    assert exported(shards, out, "--overwrite").exit_code == 0
    assert "y.jpg#0" in out.read_text(encoding="utf-8")


def test_half_of_a_surrogate_pair_fails_its_caption_alone(model_folder, tmp_path):
    captions = [{"image": "a.jpg", "caption": text} for text in ("a dog \ud83d", "a dog")]
    (tmp_path / "c.json").write_text(json.dumps(captions))
    command = [
        "parse-captions",
        "--captions",
        str(tmp_path / "c.json"),
        "--out",
        str(tmp_path / "s"),
    ]
    result = CliRunner().invoke(main, [*command, "--model", str(model_folder)])
    assert result.exit_code == 0, result.output
    assert "a.jpg#0: the caption is not valid Unicode" in result.output
    assert ShardReader(tmp_path / "s", "captions").ids == ["a.jpg#1"]


def test_show_caption_prints_triples_and_draws_arcs(model_folder, tmp_path):
    svg = tmp_path / "arcs.svg"
    command = ["show-caption", "a dog on a bench", "--model", str(model_folder), "--svg", str(svg)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert "dog [1:2]" in result.output
    assert "preposition" in result.output
    assert svg.read_text(encoding="utf-8").startswith("<svg")


def test_show_caption_prints_json(model_folder):
    command = ["show-caption", "a dog on a bench", "--model", str(model_folder), "--json"]
    shown = json.loads(CliRunner().invoke(main, command).stdout)
    (triple,) = shown["triples"]
    strings = [shown["objects"][triple[end]]["string"] for end in ("subject", "object")]
    assert [strings[0], triple["predicate"]["string"], strings[1]] == ["dog", "on", "bench"]
    assert [word["word"] for word in shown["words"]] == ["a", "dog", "on", "a", "bench"]


@pytest.mark.parametrize("caption", ["", "...", "كلب"])
def test_show_caption_says_what_is_wrong_with_a_caption(caption, model_folder):
    result = CliRunner().invoke(main, ["show-caption", caption, "--model", str(model_folder)])
    assert result.exit_code == 1
    assert "the caption" in result.output


def test_unknown_model_is_an_error_of_the_command_line():
    result = CliRunner().invoke(main, ["show-caption", "a dog", "--model", "en_nothing"])
    assert result.exit_code == 2
    assert "no model 'en_nothing'" in result.output


def test_the_embedded_model_is_identified_without_loading_it():
    from pipeline.parsing.parser import cached_parser, model_fingerprint

    assert ParseCaptions("embedded").fingerprint() == model_fingerprint(cached_parser("embedded"))


def modules_after(arguments):
    """Names of the modules that a command has imported in its own process when it is done."""
    code = (
        "import sys; from pipeline.cli import main; main(sys.argv[1:], standalone_mode=False); "
        "print(*sorted(m for m in sys.modules if '.' not in m))"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return set(done.stdout.splitlines()[-1].split())


def test_a_small_input_is_parsed_in_the_process_itself_without_torch_and_dask_workers(tmp_path):
    (tmp_path / "c.tsv").write_text("a.jpg#0\ta man riding a horse\n")
    loaded = modules_after(
        ["parse-captions", "--captions", tmp_path / "c.tsv", "--out", tmp_path / "shards"]
    )
    assert "spacy" in loaded
    assert not loaded & {"torch", "distributed"}
    (caption,) = ShardReader(tmp_path / "shards", "captions")
    assert strings_of(caption.objects, caption.triples) == [("man", "ride", "horse")]


def test_a_small_input_of_several_splits_is_parsed_in_the_process_itself(tmp_path):
    rows = [f"{split}.jpg,{split},a dog runs\n" for split in ("train", "val", "test")]
    (tmp_path / "c.csv").write_text("image,split,caption\n" + "".join(rows))
    loaded = modules_after(
        ["parse-captions", "--captions", tmp_path / "c.csv", "--out", tmp_path / "shards"]
    )
    assert "spacy" in loaded
    assert "distributed" not in loaded
    assert len(ShardReader(tmp_path / "shards", "captions", "val")) == 1


def test_several_shards_are_parsed_in_processes_and_give_the_same(tmp_path):
    (tmp_path / "c.tsv").write_text("a.jpg#0\ta man riding a horse\nb.jpg#0\ta dog on a bed\n")
    given = ["parse-captions", "--captions", tmp_path / "c.tsv", "--shard-size", 1, "--out"]
    loaded = modules_after([*given, tmp_path / "processes", "--workers", 2])
    assert "distributed" in loaded
    assert not loaded & {"spacy", "torch"}
    assert modules_after([*given, tmp_path / "threads", "--threads"]) >= {"spacy"}
    one, two = (list(ShardReader(tmp_path / n, "captions")) for n in ("processes", "threads"))
    assert one == two
