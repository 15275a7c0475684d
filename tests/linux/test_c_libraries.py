"""Any C library will do: what is called of it by name is in musl too, and none is asked for by a file's name."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src/trimaran"


def is_own_library(node: ast.AST) -> bool:
    """`ctypes.CDLL(None, …)`: the C library of this process."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "CDLL"
        and isinstance(node.args[0], ast.Constant)
        and node.args[0].value is None
    )


def called(tree: ast.AST) -> set[str]:
    """The functions of the C library that a module names."""
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and is_own_library(node.value)]
    names = {target.id for node in assigned for target in node.targets if isinstance(target, ast.Name)}
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {
        node.attr
        for node in attributes
        if is_own_library(node.value) or (isinstance(node.value, ast.Name) and node.value.id in names)
    }


def test_musl_has_every_function_that_is_called():
    named = {path: called(ast.parse(path.read_text())) for path in sorted(SOURCES.rglob("*.py"))}
    functions = set().union(*named.values())
    assert {"mount", "unshare", "prctl", "fstatfs", "syscall"} <= functions
    (library,) = Path("/lib").glob("ld-musl-*.so.1")  # Debian's package musl
    symbols = library.read_bytes()  # one name may be the end of another
    assert {name for name in functions if name.encode() + b"\0" not in symbols} == set()
    assert b"gnu_get_libc_version\0" not in symbols, "what only glibc has would be seen"


def test_no_c_library_by_its_file():
    sources = {path.name: path.read_text() for path in SOURCES.rglob("*.py")}
    assert [name for name, text in sources.items() if "libc.so" in text or "find_library" in text] == []
