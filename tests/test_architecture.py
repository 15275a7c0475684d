"""The rules of the house that no linter knows: budgets, who starts tasks, what is loaded at start-up.

Imports between rooms are checked by import-linter (`.importlinter`). An exception to a rule stands in
`architecture_exceptions.toml` with its reason; one that is no longer needed is an error too.
"""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import trimaran

REPOSITORY = Path(__file__).parents[1]
SOURCE = REPOSITORY / "src/trimaran"
FILE_LINES, FILE_LIMIT = 400, 600
FUNCTION_LINES, FUNCTION_LIMIT = 40, 80
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
TASK_STARTERS = {"create_task", "ensure_future", "gather"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Each source file (path below the package) as a tree."""
    paths = sorted(SOURCE.rglob("*.py"))
    return {str(path.relative_to(SOURCE)): ast.parse(path.read_bytes(), str(path)) for path in paths}


def nodes(*, outside: tuple[str, ...] = ()) -> Iterator[tuple[str, ast.AST]]:
    for name, tree in modules().items():
        if not name.startswith(outside or ("\0",)):
            for node in ast.walk(tree):
                yield name, node


def exceptions(rule: str) -> dict[str, str]:
    """What may break a rule, and why."""
    table = tomllib.loads((REPOSITORY / "tests/architecture_exceptions.toml").read_text())
    return table.get(rule, {})


def compare(rule: str, offenders: dict[str, str]) -> None:
    """Offenders and listed exceptions have to be the same."""
    listed = exceptions(rule)
    new = [f"{name}: {what}" for name, what in offenders.items() if name not in listed]
    stale = [f"{name}: listed under [{rule}], and within the rule by now" for name in listed if name not in offenders]
    assert not new + stale, "\n" + "\n".join(new + stale)


def called(node: ast.AST) -> str:
    """The last word of what a call calls (`create_task` for `group.create_task(…)`), or nothing."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def place(name: str, node: ast.AST) -> str:
    return f"{name}:{getattr(node, 'lineno', 0)}"


def test_there_is_something_to_check() -> None:
    assert "aio.py" in modules()


def file_lengths() -> dict[str, int]:
    return {name: len((SOURCE / name).read_bytes().splitlines()) for name in modules()}


def function_lengths() -> dict[str, int]:
    """Lines of each function, decorators aside, without its docstring: words for the reader are not what is budgeted."""
    found = {}
    for name, node in nodes():
        if isinstance(node, Function):
            found[f"{name}:{node.name}"] = (node.end_lineno or 0) - node.lineno + 1 - docstring_lines(node)
    return found


def docstring_lines(node: Function) -> int:
    if ast.get_docstring(node, clean=False) is None:
        return 0
    return (node.body[0].end_lineno or 0) - node.body[0].lineno + 1


def test_files_are_short() -> None:
    over = {name: f"{lines} lines, of {FILE_LINES}" for name, lines in file_lengths().items() if lines > FILE_LINES}
    compare("long-files", over)


def test_functions_are_short() -> None:
    lengths = function_lengths()
    compare("long-functions", {k: f"{n} lines, of {FUNCTION_LINES}" for k, n in lengths.items() if n > FUNCTION_LINES})


def test_hard_limits_have_no_exceptions() -> None:
    files = [name for name, lines in file_lengths().items() if lines > FILE_LIMIT]
    functions = [name for name, lines in function_lengths().items() if lines > FUNCTION_LIMIT]
    assert files + functions == []


def test_every_exception_has_a_reason() -> None:
    table = tomllib.loads((REPOSITORY / "tests/architecture_exceptions.toml").read_text())
    assert [name for rule in table.values() for name, reason in rule.items() if len(reason.split()) < 4] == []


def test_no_module_has_a_vague_name() -> None:
    words = {part.removesuffix(".py") for name in modules() for part in Path(name).parts}
    assert words & VAGUE_NAMES == set()


def test_only_aio_starts_tasks() -> None:
    """A task that nobody waits for outlives its work: `aio` is the one place that starts them (in a group)."""
    found = [place(name, node) for name, node in nodes(outside=("aio.py",)) if called(node) in TASK_STARTERS]
    assert found == []


def test_no_shell_and_no_extractall() -> None:
    shells = [
        place(name, node)
        for name, node in nodes()
        if called(node) in {"run", "Popen", "call", "check_call", "check_output"}
        and any(word.arg == "shell" for word in getattr(node, "keywords", ()))
    ]
    calls = [place(name, node) for name, node in nodes() if called(node) in {"extractall", "create_subprocess_shell"}]
    imports = [
        place(name, node)
        for name, node in nodes()
        if (isinstance(node, ast.Import) and any(alias.name == "tarfile" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == "tarfile")
    ]
    assert shells + calls + imports == []


def test_only_the_command_line_prints_and_exits() -> None:
    """Engines report events; only cli makes text and decides an exit code."""
    compare(
        "prints-or-exits",
        {
            name: f"line {getattr(node, 'lineno', 0)}: {called(node)}"
            for name, node in nodes(outside=("cli/", "__main__.py"))
            if called(node) == "print" or (called(node) == "exit" and "sys" in ast.dump(node))
        },
    )


def test_values_are_structs_not_dataclasses() -> None:
    """A frozen slotted dataclass costs 0.6 ms of every start, a Struct 0.02."""
    found = [
        place(name, node)
        for name, node in nodes()
        if (isinstance(node, ast.ImportFrom) and node.module == "dataclasses")
        or (isinstance(node, ast.Import) and any(alias.name == "dataclasses" for alias in node.names))
    ]
    assert found == []


def test_every_module_says_what_it_is() -> None:
    assert [name for name, tree in modules().items() if tree.body and not ast.get_docstring(tree)] == []


def test_imports_go_one_way() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(Path(trimaran.__file__).parents[1])}
    said = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, env=environment)
    assert said.returncode == 0, said.stdout + said.stderr


# What `--version` may load beyond what an empty Python has: a new name here is start-up time for every command, so it
# has to be a decision. Modules of the interpreter's own start (site, encodings) are not counted.
VERSION_LOADS = ("__future__", "trimaran", "trimaran.__main__", "trimaran.cli")
HEAVY = ("asyncio", "ssl", "subprocess", "tomllib", "tempfile", "zstandard", "logging", "dataclasses", "inspect")


@functools.cache
def loaded_by(*arguments: str) -> frozenset[str]:
    """Modules that a run of the program loads beyond those of `python -c pass`."""
    listing = "import atexit, sys; atexit.register(lambda: sys.stderr.write('\\nLOADED ' + ' '.join(sys.modules)))"
    program = "" if not arguments else f"sys.argv[1:] = {list(arguments)!r}; from trimaran.__main__ import main; main()"
    said = subprocess.run(
        [sys.executable, "-c", f"{listing}\n{program}"], capture_output=True, text=True, check=False, cwd="/"
    )
    return frozenset(said.stderr.rpartition("LOADED ")[2].split())


def test_version_loads_next_to_nothing() -> None:
    extra = loaded_by("--version") - loaded_by()
    assert {"trimaran", "trimaran.__main__"} <= extra
    assert sorted(extra & set(HEAVY)) == []
    assert sorted(name for name in extra if name.startswith("trimaran.") and not name.startswith(VERSION_LOADS)) == []


def test_test_files_have_names_of_their_own() -> None:
    """Outside packages pytest takes one module of each name: a second one would not run."""
    tests = Path(__file__).parent
    plain = [path.name for path in tests.rglob("test_*.py") if not (path.parent / "__init__.py").exists()]
    assert sorted({name for name in plain if plain.count(name) > 1}) == []
