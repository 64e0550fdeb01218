"""Imports of both packages go down one order of modules and folders, and never in a circle.

The graph is read from the sources, so imports inside functions count as those at the top do.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ORDER = {
    # From top to bottom; what stands in one line does not import one another.
    "pipeline": """
        __main__
        cli
        commandline
        __init__
        commands
        options
        detectors parsing scenes execution
        shards
        manifests
        tables images text_files terminal completion
        png_metadata image_ids
        fingerprint
        errors
    """,
    "pipeline.parsing": """
        training
        stage display export
        picture language
        captions
        parser
        inference
        scene_graph
        sentences doc_triples score
        embedded strings
        __init__
    """,
    "resg": """
        __main__
        cli
        commands
        options progress
        __init__
        serve
        search
        index report doctor
        run
        explain jobs
        live
        training
        evaluation
        run_folder
        presets
        models
        kernels
        data
        graphs
        transfer files devices webpage
        config
        errors shadowing spacy_factories
    """,
}

ORDERED = ("pipeline", "pipeline.parsing", "resg")
"""Packages whose imports follow ORDER."""

UPWARD: dict[tuple[str, str], str] = {}
"""Imports inside a function that may go up: (importer, imported) and the reason."""

OPEN_TO_RESG = ("commandline", "completion", "errors", "terminal", "fingerprint", "shards")
"""Parts of `pipeline` that all of `resg` may import; LIVE alone may import others."""

LIVE = "resg.live"


def module_names(package):
    """Dotted name of every module below a package, with its file."""
    names = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


MODULES = module_names("pipeline") | module_names("resg")


def imported_modules(source):
    """Modules of the two packages that a source imports, at any depth."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


GRAPH = {name: set(imported_modules(path.read_text())) for name, path in MODULES.items()}


def circle_in(graph):
    """The modules of one circle, the first of them again at its end; None without a circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def part_of(package, module):
    """The child of a package that a module belongs to; `__init__` for the package itself."""
    return module.removeprefix(package).removeprefix(".").partition(".")[0] or "__init__"


def levels(package):
    lines = ORDER[package].strip().splitlines()
    return {name: level for level, line in enumerate(lines) for name in line.split()}


def upward_imports(package, graph):
    """Imports within a package from a part to one above it, or beside it."""
    level_of = levels(package)
    inside = {name for name in graph if name == package or name.startswith(f"{package}.")}
    for importer in sorted(inside):
        for imported in sorted(graph[importer] & inside):
            here, there = part_of(package, importer), part_of(package, imported)
            if here != there and level_of[here] >= level_of[there]:
                yield importer, imported


def test_no_imports_go_in_a_circle():
    assert circle_in(GRAPH) is None


def test_pipeline_never_imports_resg():
    wrong = [
        (importer, imported)
        for importer, modules in GRAPH.items()
        for imported in modules
        if importer.startswith("pipeline") and imported.startswith("resg")
    ]
    assert not wrong


def test_resg_imports_the_shards_alone():
    wrong = [
        (importer, imported)
        for importer, modules in GRAPH.items()
        for imported in modules
        if importer.startswith("resg")
        and importer != LIVE
        and imported.startswith("pipeline")
        and part_of("pipeline", imported) not in OPEN_TO_RESG
    ]
    assert not wrong


@pytest.mark.parametrize("package", ORDERED)
def test_every_part_has_its_place_in_the_order(package):
    parts = {part_of(package, name) for name in MODULES if f"{name}.".startswith(f"{package}.")}
    assert parts <= set(levels(package))


@pytest.mark.parametrize("package", ORDERED)
def test_imports_go_down_the_order(package):
    assert [pair for pair in upward_imports(package, GRAPH) if pair not in UPWARD] == []


def test_listed_exceptions_are_needed():
    found = {pair for package in ORDERED for pair in upward_imports(package, GRAPH)}
    assert set(UPWARD) <= found


def test_circles_and_upward_imports_are_found():
    graph = {"pipeline.shards.a": {"pipeline.options"}, "pipeline.options": {"pipeline.shards.a"}}
    assert set(circle_in(graph)) == set(graph)
    assert list(upward_imports("pipeline", graph)) == [("pipeline.shards.a", "pipeline.options")]
    source = "def late():\n    from pipeline.shards import writer\n    import pipeline.images\n"
    assert set(imported_modules(source)) == {"pipeline.shards.writer", "pipeline.images"}
