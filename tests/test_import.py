"""What importing costs, and that the public names are what their list says."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import compact_vit
from compact_vit.cli import COMMANDS
from compact_vit.models.config import named_models

PACKAGE = Path(compact_vit.__file__).parent
HEAVY = ("torch", "torchvision", "timm", "sklearn", "scipy", "matplotlib", "PIL", "numpy")


def loaded(code: str) -> set[str]:
    """The big libraries in memory after ``code`` has run in a fresh interpreter."""
    code += f"\nimport sys\nprint('LOADED', *(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_importing_the_package_imports_no_torch() -> None:
    assert loaded("import compact_vit, compact_vit.models, compact_vit.cli") == set()


def test_importing_a_builder_imports_little_but_torch() -> None:
    got = loaded("from compact_vit import cct_6_3x1")
    assert "torch" in got
    assert not got & {"torchvision", "timm", "sklearn", "scipy", "matplotlib", "PIL"}


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_no_torch(command: str) -> None:
    code = f"""
        import sys
        from compact_vit.cli import main
        sys.argv = ["compact-vit"]
        try:
            status = main({[command, "--help"] if command else ["--help"]!r})
        except SystemExit as leaving:
            status = leaving.code
        assert not status, status
    """
    assert loaded("\n".join(line[8:] for line in code.splitlines())) == set()


@pytest.mark.parametrize("package", ["compact_vit", "compact_vit.models", "compact_vit.baselines"])
def test_every_public_name_resolves_to_what_the_stub_says(package: str) -> None:
    module = import_module(package)
    stub = ast.parse(Path(module.__file__).with_suffix(".pyi").read_text())
    listed = []
    for node in stub.body:
        assert isinstance(node, ast.ImportFrom)
        home = import_module("." * node.level + (node.module or ""), package)
        for alias in node.names:
            assert alias.name == alias.asname  # a re-export, to type checkers
            assert getattr(module, alias.name) is getattr(home, alias.name)
            listed.append(alias.name)
    assert module.__all__ == dir(module) == sorted(listed)
    assert len(listed) == len(set(listed))


def test_every_named_member_is_public() -> None:
    by_name = {n for n in compact_vit.__all__ if n.startswith(("cct", "cvt_", "vit_lite_"))}
    assert by_name == set(named_models())


@pytest.mark.parametrize("package", ["compact_vit", "compact_vit.models"])
def test_unknown_attributes(package: str) -> None:
    module, name = import_module(package), "cct_9"
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'cct_9'"):
        getattr(module, name)
