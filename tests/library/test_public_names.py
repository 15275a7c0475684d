"""What is public is in `trimaran.__all__`, is loaded only when used, and is typed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import trimaran

PACKAGE = Path(trimaran.__file__).parent


def test_every_public_name_is_there_and_no_other() -> None:
    assert sorted(trimaran.__all__) == trimaran.__all__
    assert dir(trimaran) == trimaran.__all__
    for name in trimaran.__all__:
        assert getattr(trimaran, name) is not None
    assert not hasattr(trimaran, "no_such_name")


def test_type_checkers_see_the_same_names() -> None:
    """The imports under TYPE_CHECKING are the table of places."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imported = {
        node.module: tuple(alias.name for alias in node.names)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }
    assert imported.pop("trimaran") == ("graph",)
    assert imported == trimaran._PLACES
    assert {name for names in imported.values() for name in names} | {"graph", "__version__"} == set(trimaran.__all__)
    assert (PACKAGE / "py.typed").exists()


def test_importing_loads_nothing_else() -> None:
    listing = "import sys, trimaran; print(*[name for name in sys.modules if name.startswith(('trimaran', 'msgspec'))])"
    said = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["trimaran"]
