"""Image names in Docker's normalised form: `registry/repository[:tag][@digest]` (distribution/reference grammar).

Law: `Reference.parse(str(reference)) == reference`. A name without tag and digest means `:latest`.
"""

from __future__ import annotations

import msgspec

from trimaran.digest import Digest
from trimaran.errors import Corrupt, UsageError

DOCKER_HUB = "docker.io"
DEFAULT_TAG = "latest"
MAX_REPOSITORY = 255
MAX_TAG = 128

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz")
_DIGITS = frozenset("0123456789")
_ALPHANUMERIC = _LOWER | _DIGITS | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_PATH = _LOWER | _DIGITS
_TAG_START = _ALPHANUMERIC | {"_"}
_TAG = _TAG_START | {".", "-"}
_HEX = frozenset("0123456789abcdefABCDEF")


class Reference(msgspec.Struct, frozen=True, order=True):
    """An image name and nothing else; with `tag` and `digest` both set the digest says what, the tag is a label."""

    registry: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str, *, default_tag: str = DEFAULT_TAG) -> Reference:
        """Read a name as docker does: `alpine` is docker.io/library/alpine:latest. UsageError says what is wrong.

        `default_tag` is put where neither tag nor digest is given; "" leaves the name bare.
        """
        name, tag, digest = _split(text)
        registry, repository = _split_registry(name)
        _check_registry(registry, text)
        _check_repository(repository, text)
        if not tag and digest is None:
            tag = default_tag
        return cls(registry, repository, tag, digest)

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        return self.name + self.suffix

    @property
    def suffix(self) -> str:
        """`:tag@digest`, as far as there are any."""
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def familiar_name(self) -> str:
        """The repository as people write it: without docker.io and library/."""
        if self.registry != DOCKER_HUB:
            return self.name
        short = self.repository.removeprefix("library/")
        # "library/a/b" without its prefix would be read as another repository
        return self.repository if "/" in short else short

    @property
    def familiar(self) -> str:
        """The whole reference as people write it; parses to the same reference."""
        return self.familiar_name + self.suffix

    def with_digest(self, digest: Digest) -> Reference:
        """The same name pinned to `digest`; keeps the tag."""
        return Reference(self.registry, self.repository, self.tag, digest)


def _split(text: str) -> tuple[str, str, Digest | None]:
    if not text:
        raise UsageError("parse image name: it is empty")
    _check_no_login(text)
    if "://" in text:
        raise _wrong(text, "an image name has no scheme", hint=f"write {text.partition('://')[2]}")
    rest, at, digest_text = text.partition("@")
    digest = None
    if at:
        try:
            digest = Digest.parse(digest_text)
        except Corrupt:
            raise _wrong(
                text, f"{digest_text!r} is not a digest", hint="such as sha256: and 64 lower-case hexadecimal digits"
            ) from None
    slash = rest.rfind("/")
    colon = rest.find(":", slash + 1)
    if colon < 0:
        if not at and len(rest) == 64 and _HEX.issuperset(rest) and rest == rest.lower():
            raise _wrong(text, "64 hexadecimal digits are an image id, not a name", hint=f"write NAME@sha256:{rest}")
        return rest, "", digest
    tag = rest[colon + 1 :]
    _check_tag(tag, text)
    return rest[:colon], tag, digest


def _check_no_login(text: str) -> None:
    """`user:password@host/app`: what stands before the host is told nowhere."""
    _, at, host = text.rpartition("@")
    if at and "/" in host and not host.startswith(("sha256:", "sha384:", "sha512:")):
        registry = host.partition("/")[0]
        raise _wrong(f"…@{host}", "a user or password has no place in it", hint=f"trimaran login {registry}")


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_host = first == "localhost" or "." in first or ":" in first or first != first.lower()
    if not slash or not is_host:
        first, rest = DOCKER_HUB, name
    elif first == "index.docker.io":
        first = DOCKER_HUB
    if first == DOCKER_HUB and "/" not in rest:
        rest = "library/" + rest
    return first, rest


def _check_registry(registry: str, text: str) -> None:
    if registry.startswith("["):
        host, bracket, port = registry[1:].partition("]")
        right = bool(host) and bool(bracket) and set(host) <= _HEX | {":"} and (not port or port[0] == ":")
        port = port[1:] if port else "0"
    else:
        host, colon, port = registry.partition(":")
        port = port if colon else "0"
        right = all(
            label and label[0] != "-" and label[-1] != "-" and set(label) <= _ALPHANUMERIC | {"-"}
            for label in host.split(".")
        )
    if not right:
        raise _wrong(text, f"{registry!r} is not a registry host")
    if not port or not _DIGITS.issuperset(port):
        raise _wrong(text, f"{port!r} is not a port")


def _check_repository(repository: str, text: str) -> None:
    if repository != repository.lower():
        raise _wrong(text, f"repository name ({repository}) must be lowercase", hint=f"write {_lowered(text)}")
    if len(repository) > MAX_REPOSITORY:
        raise _wrong(text, f"repository name must not be more than {MAX_REPOSITORY} characters")
    for component in repository.split("/"):
        if not _is_component(component):
            what = f"{component!r} is not a repository name" if component else "a part of the name is empty"
            raise _wrong(text, what, hint="lower-case letters, digits and single separators . _ __ - between them")


def _is_component(text: str) -> bool:
    """`[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*`"""
    if not text or text[0] not in _PATH or text[-1] not in _PATH:
        return False
    run = ""
    for character in text:
        if character in _PATH:
            if run not in ("", ".", "_", "__") and run.strip("-"):
                return False
            run = ""
        elif character in "._-":
            run += character
        else:
            return False
    return True


def _check_tag(tag: str, text: str) -> None:
    if not tag:
        raise _wrong(text, "the tag after ':' is empty")
    if tag[0] not in _TAG_START or not _TAG.issuperset(tag):
        raise _wrong(text, f"{tag!r} is not a tag", hint="letters, digits, _ . and -, not starting with . or -")
    if len(tag) > MAX_TAG:
        raise _wrong(text, f"the tag must not be more than {MAX_TAG} characters")


def _lowered(text: str) -> str:
    name, tag, digest = _split(text)
    registry, repository = _split_registry(name)
    lower = Reference(registry, repository.lower(), tag, digest)
    return lower.familiar


def _wrong(text: str, cause: str, *, hint: str = "") -> UsageError:
    return UsageError(f"parse image name {text[:300]!r}: {cause}", hint=hint)
