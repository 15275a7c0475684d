"""`# syntax=docker/dockerfile:1.4`: which frontend a file asks for, and which version of the language (reference §3.1).

Docker's own is this one. An older version has no newer flags; a newer one may have what is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable

from trimaran.dockerfile.contexts import Loaded
from trimaran.dockerfile.lines import Directive, find_directive
from trimaran.dockerfile.parse import Document
from trimaran.errors import Location, Unsupported
from trimaran.graph.frontend import Bridge

VERSION = (1, 20)
"""Of the language as it is spoken here."""
_REPOSITORIES = ("docker/dockerfile", "docker/dockerfile-upstream", "dockerfile.v0")
_SINCE: dict[tuple[str, str], tuple[int, int]] = {
    ("RUN", "mount"): (1, 2),
    ("RUN", "network"): (1, 3),
    ("RUN", "security"): (1, 20),
    ("RUN", "device"): (1, 14),
    ("ADD", "keep-git-dir"): (1, 1),
    ("ADD", "chmod"): (1, 2),
    ("ADD", "link"): (1, 4),
    ("ADD", "checksum"): (1, 6),
    ("ADD", "unpack"): (1, 17),
    ("ADD", "exclude"): (1, 19),
    ("COPY", "chmod"): (1, 2),
    ("COPY", "link"): (1, 4),
    ("COPY", "exclude"): (1, 19),
    ("COPY", "parents"): (1, 20),
}


def check_syntax(loaded: Loaded, build_args: Iterable[tuple[str, str]], bridge: Bridge) -> None:
    """Unsupported for another frontend than Docker's own; a warning for a newer version of it."""
    found = find_directive(loaded.data, "syntax")
    wanted = _wanted(found, build_args)
    if not wanted:
        return
    where = Location(loaded.filename, loaded.data, (found.range,)) if found else None
    if not is_own_syntax(wanted):
        raise Unsupported(
            f"use syntax {wanted!r}: other frontends than docker/dockerfile are not supported",
            hint="take the syntax line away, or name docker/dockerfile:1",
            where=where,
        )
    version, _ = _version(wanted)
    if version > VERSION:
        shown, own = ".".join(map(str, version)), ".".join(map(str, VERSION))
        bridge.warn(
            f"syntax {wanted}: version {shown} is newer than {own}, the one that is spoken here",
            detail=("What it added may be refused.",),
            where=where,
        )


def check_flags(document: Document, loaded: Loaded, build_args: Iterable[tuple[str, str]]) -> None:
    """DockerfileError at the first flag that the version asked for does not have; in its -labs edition it may."""
    wanted = _wanted(find_directive(loaded.data, "syntax"), build_args)
    version, labs = _version(wanted) if wanted else ((), False)
    if len(version) < 2 or labs or version >= VERSION:
        return
    for node in document.nodes:
        for word in node.flags:
            name = word.text[2:].partition("=")[0]
            since = _SINCE.get((node.keyword, name))
            if since is not None and version < since:
                needed = ".".join(map(str, since))
                raise node.error(
                    f"unknown flag: --{name}",
                    word,
                    hint=f"{node.keyword} has it since syntax {needed}: write # syntax=docker/dockerfile:1",
                )


def _wanted(found: Directive | None, build_args: Iterable[tuple[str, str]]) -> str:
    value = dict(build_args).get("BUILDKIT_SYNTAX") or (found.value if found else "")
    return value.split()[0] if value.strip() else ""


def is_own_syntax(name: str) -> bool:
    return _parts(name)[0].removeprefix("docker.io/") in _REPOSITORIES


def _parts(name: str) -> tuple[str, str]:
    """Repository and tag."""
    bare = name.partition("@")[0]
    if ":" not in bare.rpartition("/")[2]:
        return bare, ""
    repository, _, tag = bare.rpartition(":")
    return repository, tag


def _version(name: str) -> tuple[tuple[int, ...], bool]:
    """As many numbers as the tag has (none for `latest`), and whether it is a -labs edition."""
    number, _, edition = _parts(name)[1].partition("-")
    parts = number.split(".")
    if not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        return (), "labs" in name
    return tuple(int(part) for part in parts[:2]), "labs" in edition
