"""The import graph of the package: down the list of its parts, and without circles."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2] / "resg"
LAYERS = (
    {"errors", "config", "transfer"},
    {"files", "devices", "presets"},
    {"graphs"},
    {"data"},
    {"kernels"},
    {"models"},
    {"run_folder"},
    {"evaluation"},
    {"training"},
    {"live"},
    {"jobs", "run", "doctor", "progress"},
    {"options"},
    {"commands"},
    {"cli"},
    {"__main__"},
)


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imports():
    """Each module to the modules of the package that it imports, wherever the import stands."""
    paths = {module_name(path): path for path in ROOT.rglob("*.py")}
    found = {}
    for name, path in paths.items():
        asked = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                asked |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                asked |= (inner & paths.keys()) or {node.module}
        found[name] = {other for other in asked if other in paths and other != name}
    return found


def part(module):
    return module.split(".")[1]


def test_imports_go_down_the_list_of_parts():
    height = {name: level for level, names in enumerate(LAYERS) for name in names}
    graph = {name: others for name, others in imports().items() if name != "resg"}
    assert {part(name) for name in graph} == height.keys()
    upward = [
        f"{name} imports {other}"
        for name, others in graph.items()
        for other in others - {"resg"}
        if part(name) != part(other) and height[part(other)] >= height[part(name)]
    ]
    assert upward == []


def test_no_modules_import_each_other():
    graph = imports()
    del graph["resg"]  # its public names are imported when they are used
    assert "resg.training.trainer" in list(TopologicalSorter(graph).static_order())
