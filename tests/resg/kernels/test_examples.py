"""Do the examples of the kernels' READMEs run as they stand?"""

import re
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[3] / "resg" / "kernels").rglob("README.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_examples_run(page):
    examples = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert examples
    for example in examples:
        exec(compile(example, str(page), "exec"), {})
