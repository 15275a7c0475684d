"""The documents tell the truth: command lines that parse, settings that exist, messages that are said, links that lead
somewhere."""

from __future__ import annotations

import functools
import re
import shlex
import tomllib
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage.consoles import blocks, pages

from trimaran import settings
from trimaran.cli import commands
from trimaran.cli.options import BUILDER, DEBUG, parse
from trimaran.errors import TrimaranError

REPOSITORY = Path(__file__).parents[1]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


@functools.cache
def documents() -> dict[str, str]:
    """Every document of the project itself, by its path."""
    folders = [REPOSITORY, REPOSITORY / "docs", *(p for p in (REPOSITORY / "docs").rglob("*") if p.is_dir())]
    paths = sorted(path for folder in folders for path in folder.glob("*.md"))
    return {str(path.relative_to(REPOSITORY)): path.read_text() for path in paths}


def prose(text: str) -> str:
    """Without code blocks and spans, in which brackets are no links."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))


def command_lines() -> Iterator[tuple[str, str]]:
    """Each line of a console or shell block that calls trimaran, joined over its continuations."""
    for name, text in documents().items():
        for kind, block in FENCE.findall(text):
            for line in block.replace("\\\n", " ").splitlines():
                shown = line.strip()
                if kind == "console":
                    shown = shown.removeprefix("$ ") if shown.startswith("$ ") else ""
                if kind in {"console", "sh"}:
                    yield from ((name, part) for part in calls(shown))


def calls(line: str) -> Iterator[str]:
    """The calls of trimaran in a shell line, in the words after the program."""
    lexer = shlex.shlex(re.sub(r" \d?>&\d", "", line), posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    redirected = False
    for word in [*lexer, ";"]:
        if set(word) <= set("&|;"):
            if found := arguments(words):
                yield shlex.join(found)
            words = []
        elif set(word) <= set("<>"):
            redirected = True
        elif redirected:
            redirected = False
        else:
            words.append(word)


def arguments(words: list[str]) -> list[str]:
    """What trimaran is given by a simple command; nothing when it is not called."""
    while words and (words[0] in {"sudo", "exec"} or "=" in words[0]):
        words = words[1:]
    if words[:1] == ["trimaran"] or (words[:1] == ["systemd-run"] and "trimaran" in words):
        return words[words.index("trimaran") + 1 :]
    if words[:2] == ["docker", "buildx"]:
        return words[2:]
    return words[1:] if words[:2] == ["docker", "build"] else []


def check(line: str) -> None:
    """Parse a command line as the program does; nothing is run."""
    root = parse((BUILDER, DEBUG), shlex.split(line), environment={}, interspersed=False)
    name, taken = commands.find(list(root.arguments))
    assert name, f"no such command: {line}"
    command = commands.command(name)
    values = parse(command.flags, root.arguments[taken:], environment={}, interspersed=command.interspersed)
    least, most = command.arguments
    assert least <= len(values.arguments), line
    assert most < 0 or len(values.arguments) <= most, line


LINES = sorted(set(command_lines()))


@pytest.mark.parametrize(("document", "line"), LINES, ids=[f"{name}: {line}" for name, line in LINES])
def test_command_lines_parse(document: str, line: str) -> None:
    check(line)


def test_the_check_of_command_lines_can_fail() -> None:
    assert len(LINES) > 40
    assert list(calls("sudo trimaran binfmt --install all && A=b trimaran doctor | less # x")) == [
        "binfmt --install all",
        "doctor",
    ]
    with pytest.raises(TrimaranError):
        check("build --no-such-flag .")
    with pytest.raises(AssertionError):
        check("build")
    with pytest.raises(AssertionError):
        check("bild .")


def anchors(text: str) -> set[str]:
    """The fragments that headings give, as forges make them."""
    found = set()
    for title in re.findall(r"^#+ +(.+?)\s*$", FENCE.sub("", text), re.MULTILINE):
        kept = re.sub(r"[^\w\- ]", "", title.lower())
        found.add(kept.replace(" ", "-"))
    return found


@pytest.mark.parametrize("name", documents())
def test_links_lead_somewhere(name: str) -> None:
    broken = []
    for link in LINK.findall(prose(documents()[name])):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, fragment = urllib.parse.unquote(link).partition("#")
        target = (REPOSITORY / name).parent / path if path else REPOSITORY / name
        if not target.exists():
            broken.append(link)
        elif fragment and fragment not in anchors(target.read_text()):
            broken.append(f"{link} (no such heading)")
    assert not broken


def toml_blocks(name: str) -> list[str]:
    return [block for kind, block in FENCE.findall(documents()[name]) if kind == "toml"]


def keys_of(document: dict[str, object], path: tuple[str, ...] = ()) -> Iterator[str]:
    """The dotted keys of a settings file, hosts of registries left out."""
    for key, value in document.items():
        here = path if path == ("registry",) else (*path, key)
        tables = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]
        for table in tables:
            yield from keys_of(table, (*here, "") if path == ("registry",) else here)
        if not tables:
            yield ".".join(part for part in here if part)


def known_keys() -> set[str]:
    tables = {
        "": settings._TOP,
        "registry.": settings._REGISTRY,
        "registry.keypair.": settings._KEYPAIR,
        "worker.": settings._WORKER,
        "worker.gcpolicy.": settings._GC_POLICY,
        "history.": settings._HISTORY,
        "system.": settings._SYSTEM,
    }
    tables_themselves = {"registry", "worker", "history", "system", "registry.keypair", "worker.gcpolicy", "worker.oci"}
    return {f"{prefix}{key}" for prefix, table in tables.items() for key in table} - tables_themselves


@pytest.mark.parametrize("block", toml_blocks("docs/settings.md"))
def test_settings_in_the_documents_are_read(block: str) -> None:
    assert settings.parse(block.encode(), "docs/settings.md")


def test_every_setting_is_documented() -> None:
    shown = {key for block in toml_blocks("docs/settings.md") for key in keys_of(tomllib.loads(block))}
    text = documents()["docs/settings.md"]
    named = {key for key in known_keys() if f"`{key.rpartition('.')[2]}`" in text}
    assert not known_keys() - shown - named


def test_variables_in_the_documents_are_read_by_the_program() -> None:
    source = "\n".join(path.read_text() for path in (REPOSITORY / "src").rglob("*.py"))
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \|", documents()["docs/settings.md"], re.MULTILINE)
    names = {name for row in rows for name in re.findall(r"[A-Z_]{4,}", row)}
    assert len(names) > 15
    assert not {name for name in names if name not in source}


def test_every_block_with_a_terminal_is_run_or_has_a_reason() -> None:
    """`<!-- run -->` above a block has tests/e2e/test_consoles.py run and compare it; or say why not in the list."""
    listed_pages = tomllib.loads((REPOSITORY / "tests/documents_not_run.toml").read_text())
    listed = {(page, first) for page, table in listed_pages.items() for first in table}
    without = {(block.page, block.first) for page in pages() for block in blocks(page) if not block.marked}
    assert without - listed == set(), "neither marked nor listed"
    assert listed - without == set(), "listed and not there"
    reasons = " ".join(reason for table in listed_pages.values() for reason in table.values())
    assert not [path for path in re.findall(r"tests/[\w/]+\.py", reasons) if not (REPOSITORY / path).exists()]


ALWAYS_SAID = {
    "401": "the status that registries answer with; tests/registry/test_auth.py",
    "403": "the same",
    "429": "the same; tests/registry/test_faults.py",
}


def messages() -> list[str]:
    """What the page of troubles has in its first column, word for word, one each."""
    cells = re.findall(r"^\| ([^|]+) \|", documents()["docs/troubleshooting.md"], re.MULTILINE)
    return [message for cell in cells if cell != "message" for message in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("message", messages())
def test_messages_in_the_documents_are_said_by_the_program(message: str) -> None:
    """The parts between what differs each time ("…", HOST) are in the sources; what the system says, in a test."""
    said = _text_of("src")
    parts = [part.strip(' ":') for part in re.split(r"…|\b[A-Z]{4,}\b|: (?=[A-Z])", message)]
    for part in filter(None, parts):
        assert part in said or part in ALWAYS_SAID or (part[0].isupper() and part in _text_of("tests")), part


@functools.cache
def _text_of(folder: str) -> str:
    return " ".join(path.read_text() for path in (REPOSITORY / folder).rglob("*.py"))


def test_every_row_of_troubles_has_words_to_look_for() -> None:
    rows_ = re.findall(r"^\| ([^|]+) \|", documents()["docs/troubleshooting.md"], re.MULTILINE)
    assert [cell for cell in rows_ if cell != "message" and "`" not in cell] == [
        "a step ends with exit code 139 under emulation"
    ]
    assert len(messages()) > 20


# Pages for those who come from elsewhere: tables of "there", "here", "what differs".

COMING = ("docs/coming-from-buildx.md", "docs/coming-from-buildah.md", "docs/coming-from-kaniko.md")
EXECUTOR_FLAGS = """
annotation bucket build-arg cache cache-copy-layers cache-dir cache-repo cache-run-layers cache-ttl cleanup
compressed-caching compression compression-level context context-sub-path credential-helpers custom-platform destination
digest-file dockerfile force force-build-metadata git ignore-path ignore-var-run image-download-retry
image-fs-extract-retry image-name-tag-with-digest-file image-name-with-digest-file initial-fs-unpacked insecure
insecure-pull insecure-registry kaniko-dir label log-format log-timestamp materialize no-push no-push-cache
oci-layout-path preserve-context push-ignore-immutable-tag-errors push-retry registry-certificate registry-client-cert
registry-map registry-mirror reproducible secret single-snapshot skip-default-registry-fallback
skip-push-permission-check skip-tls-verify skip-tls-verify-pull skip-tls-verify-registry skip-unused-stages snapshot-mode
tar-path target use-new-run verbosity
""".split()
"""Of kaniko's executor and the forks that go on with it."""


def rows(name: str) -> list[list[str]]:
    """The cells of a page's table rows, headings left out."""
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in documents()[name].splitlines() if line.startswith("| ")]
    return [[cell.strip().replace("\\|", "|") for cell in row] for row in cells if row[0].strip() != "there"]


def spans(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


HERE = sorted({(name, span) for name in COMING for row in rows(name) for span in spans(row[1])})


@pytest.mark.parametrize(("name", "span"), HERE, ids=[f"{Path(name).stem}: {span}" for name, span in HERE])
def test_what_to_write_instead_is_there(name: str, span: str) -> None:
    """A command, flags of `build`, a setting or a variable that the program reads."""
    if span.startswith("trimaran "):
        check(span.removeprefix("trimaran "))
    elif span.startswith("-"):
        check(f"build {span}" if span.endswith(" .") else f"build {span} .")
    elif " = " in span:
        key, text = span.split(" = ")
        assert f"registry.{key}" in known_keys()
        assert settings.parse(f'[registry."host"]\n{key} = {text}\n'.encode(), name)
    elif re.fullmatch(r"[A-Z_]+(=\w+)?", span):
        assert f'"{span.partition("=")[0]}"' in _text_of("src")
    else:
        assert span == "~/.config/trimaran/trimaran.toml"


def test_every_flag_of_kaniko_has_its_row() -> None:
    told = {flag for row in rows(COMING[2]) for span in spans(row[0]) for flag in re.findall(r"--([a-z][\w-]+)", span)}
    assert told == set(EXECUTOR_FLAGS)


def test_every_command_of_buildx_that_is_not_here_has_its_row() -> None:
    told = " ".join(row[0] for row in rows(COMING[0]))
    assert not [path for path in commands.UNSUPPORTED if path not in told]


def test_rows_say_either_what_to_write_or_why_not() -> None:
    for name in COMING:
        assert not [row[0] for row in rows(name) if not row[1] and not row[2]], name
