"""The examples of docs/shards.md run as they stand."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "shards.md"


def test_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    read, write, plain = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for example in (write, read, plain):
        exec(example, {})
    assert capsys.readouterr().out == 'dog.jpg (2, 4) {"detector": "by hand"}\n'


def test_every_dataset_is_described():
    from pipeline.shards.schema import KINDS, stored_datasets

    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    for kind in KINDS:
        for name in stored_datasets(kind):
            plain = name.removesuffix("_offsets")
            assert any(f"`{name}`" in row or f"`{plain}`" in row for row in rows), name
