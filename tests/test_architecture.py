"""The directions of the imports, and the sizes of files and functions."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from compact_vit.cli import COMMANDS

PACKAGE = Path(__file__).parents[1] / "compact_vit"
FILES = sorted(PACKAGE.rglob("*.py"))

#: names every room may use
BASICS = {"errors", "checks", "files", "_lazy", "_version"}

# room -> the rooms it may import; a room is a folder of the package, or a module beside them
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "checks": {"errors"},
    "files": {"errors"},
    "strict_yaml": {"errors"},
    "photographs": set(),
    "resampling": {"photographs"},
    "_lazy": set(),
    "_version": set(),
    "__init__": BASICS | {"layers", "models"},
    "__main__": {"cli"},
    "cli": BASICS,
    "layers": set(),
    # the baselines its names and its zoo alone know
    "models": BASICS | {"photographs", "resampling", "layers", "baselines", "tables"},
    "baselines": BASICS | {"layers"},
    "data": BASICS | {"photographs", "resampling"},
    "scoring": BASICS,
    "tables": BASICS,
    "published": BASICS,
    "evaluated": BASICS | {"scoring", "train"},
    "ranking": BASICS | {"models", "scoring", "published"},
    "timing": BASICS,
    "units": set(),
    "timm": BASICS | {"layers", "models", "data"},
    "report": BASICS | {"cli", "layers", "models", "baselines", "scoring", "plots", "tables"},
    "pages": BASICS | {"report", "scoring", "ranking", "tables"},
    "plots": BASICS | {"layers", "models", "scoring"},
    "train": BASICS
    | {"cli", "layers", "models", "baselines", "data", "report", "scoring", "plots"}
    | {"pages", "published", "ranking", "strict_yaml", "tables"},
}
# the commands on a checkpoint, and what calls train() as a whole
ABOVE = set(ARROWS) - {"__init__", "__main__", "timm"}
ARROWS |= dict.fromkeys(("labelled", "bench"), ABOVE)
ARROWS |= dict.fromkeys(("evaluate", "predict"), ABOVE | {"labelled"})
ARROWS |= {"latency": ABOVE | {"bench"}}
ARROWS |= dict.fromkeys(("score", "suggest"), ABOVE | {"latency"})
ARROWS |= {"export": ABOVE | {"evaluate", "score"}}
ARROWS |= {"experiment": ABOVE | {"evaluate"}}
ARROWS |= {"plot": ABOVE | {"evaluate", "predict"}}
ARROWS |= {"page": ABOVE | {"evaluate", "score"}}

LAYERS_KNOW = {"torch", "math", "itertools", "collections", "typing", "dataclasses"}

# what works without torch, besides every command's module and ``__main__.py``: to help, to wait for
# runs, to decode, to draw in HTML
LIGHT = [
    "baselines/names.py",
    "data/decoding.py",
    "experiment/child.py",
    "experiment/grid.py",
    "experiment/search.py",
    "pages/run_page.py",
    "plot/cli.py",
    "report/cli.py",
    "score/drawn.py",
    "train/progress.py",
]
HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "sklearn",
    "scipy",
    "matplotlib",
    "PIL",
    "torchinfo",
    "jinja2",
}


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)

#: What ``CompactTransformer`` calls, and what imports it.
METHODS = {("compact_vit", "models", name) for name in ("saving", "pretrained")}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def at_run(tree: ast.AST, without: tuple[type[ast.AST], ...] = ()) -> Iterator[ast.AST]:
    """The nodes that run some time: not for types alone, nor in what is ``without``."""
    for node in ast.iter_child_nodes(tree):
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not typing_only and not isinstance(node, without):
            yield node
            yield from at_run(node, without)


def at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: not in functions, not for types alone."""
    return at_run(tree, FUNCTIONS)


def imported(path: Path, nodes: Iterator[ast.AST]) -> Iterator[tuple[str, ...]]:
    """What the ``import`` statements among ``nodes`` name: absolute, relative ones resolved."""
    package = ("compact_vit", *path.relative_to(PACKAGE).parts[:-1])
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base += tuple((node.module or "").split(".")) if node.module else ()
            if base == ("compact_vit",) or not node.module:  # from . import cli
                yield from ((*base, alias.name) for alias in node.names)
            else:
                yield base


def everything(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_room_knows_the_rooms_below_it_and_none_above(path: Path) -> None:
    here = room(path)
    assert here in ARROWS, f"{here} has no place in the drawing"
    for name in imported(path, everything(path)):
        if name[0] == "compact_vit" and len(name) > 1 and name[1] != here:
            assert name[1] in ARROWS[here], f"{here} must not know {'.'.join(name)}"


@pytest.mark.parametrize("path", [p for p in FILES if room(p) == "layers"], ids=name_of)
def test_layers_know_nothing_but_torch(path: Path) -> None:
    outside = {name[0] for name in imported(path, everything(path))} - {"compact_vit", "__future__"}
    assert outside <= LAYERS_KNOW


def brought_in(paths: Iterable[Path]) -> set[Path]:
    """The files of the package that importing ``paths`` runs, they and those above them too."""
    run: set[Path] = set()
    left = set(paths)
    while left:
        path = left.pop()
        run.add(path)
        for name in imported(path, at_import(ast.parse(path.read_text()))):
            if name[0] == "compact_vit":
                inside = [PACKAGE.joinpath(*name[1:depth]) for depth in range(1, len(name) + 1)]
                found = {f for p in inside for f in (p / "__init__.py", p.with_suffix(".py"))}
                left |= found & set(FILES) - run
    return run


def light() -> set[Path]:
    commands = ["/".join(module.split(".")) for module, _ in COMMANDS.values()]
    names = {f"{name}{end}" for name in commands for end in (".py", "/__init__.py")} | set(LIGHT)
    return brought_in(p for p in FILES if p.name == "__main__.py" or name_of(p) in names)


@pytest.mark.parametrize("path", sorted(light()), ids=name_of)
def test_what_help_needs_imports_nothing_heavy(path: Path) -> None:
    names = {name[0] for name in imported(path, at_import(ast.parse(path.read_text())))}
    assert not names & HEAVY


@pytest.mark.parametrize("path", [p for p in FILES if room(p) != "timm"], ids=name_of)
def test_big_libraries_are_imported_where_they_are_used(path: Path) -> None:
    names = {name[0] for name in imported(path, at_import(ast.parse(path.read_text())))}
    assert not names & (HEAVY - {"torch"})


def test_there_are_no_cycles_among_rooms() -> None:
    def below(name: str, seen: tuple[str, ...] = ()) -> None:
        assert name not in seen, f"cycle: {' -> '.join((*seen, name))}"
        for other in edges.get(name, ()):
            below(other, (*seen, name))

    edges: dict[str, set[str]] = {}
    for path in FILES:
        for name in imported(path, everything(path)):
            # the package's own list of names is lazy: it is at the top, whoever asks for it
            if name[0] == "compact_vit" and len(name) > 1 and name[1] != room(path):
                edges.setdefault(room(path), set()).add(name[1])
    for name in list(edges):
        below(name)


def test_files_import_one_another_in_no_circle() -> None:
    """Nor in functions, but for a model's methods, which are made of what knows models."""
    files: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for path in FILES:
        here = ("compact_vit", *path.relative_to(PACKAGE).with_suffix("").parts)
        files[here] = set(imported(path, at_run(ast.parse(path.read_text()))))
    files["compact_vit", "models", "compact"] -= METHODS
    known = {here: [name for name in names if name in files] for here, names in files.items()}
    assert len(list(graphlib.TopologicalSorter(known).static_order())) == len(FILES)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_fit_the_eye(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_text_is_read_and_written_in_an_encoding_that_is_said(path: Path) -> None:
    """Else it is the system's, which on Windows is not that of the files."""
    for node in everything(path):
        if isinstance(node, ast.Call):
            said = "encoding" in {keyword.arg for keyword in node.keywords}
            if isinstance(node.func, ast.Attribute):
                assert said or node.func.attr not in ("read_text", "write_text"), node.lineno
            elif isinstance(node.func, ast.Name) and node.func.id == "open":
                mode = ast.literal_eval(node.args[1]) if len(node.args) > 1 else "r"
                assert said or "b" in mode, node.lineno


def test_the_test_sees_what_it_looks_for() -> None:
    source = "from .. import cli\nfrom . import step\nfrom ..models.zoo import x\n"
    source += "import torch.nn\nfrom .a import b\n"
    source += "def f():\n    import timm\nif TYPE_CHECKING:\n    import sklearn\n"
    tree, path = ast.parse(source), PACKAGE / "train" / "loop.py"
    expected = {
        ("compact_vit", "cli"),
        ("compact_vit", "models", "zoo"),
        ("torch", "nn"),
        ("compact_vit", "train", "a"),
        ("compact_vit", "train", "step"),
    }
    assert set(imported(path, at_import(tree))) == expected
    assert set(imported(path, ast.walk(tree))) == expected | {("timm",), ("sklearn",)}
    run = set(map(name_of, light()))
    assert {"__init__.py", "experiment/pool.py", "train/config.py", "report/told.py"} <= run
    assert set(LIGHT) <= run
    assert not {"train/loop.py", "models/compact.py"} & run
