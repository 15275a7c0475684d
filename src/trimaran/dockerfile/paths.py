"""Paths of a Linux image as instructions name them, made absolute and clean by Go's rules."""

from __future__ import annotations

from trimaran.patterns import clean


def absolute(folder: str, path: str, *, keep_slash: bool = False) -> str:
    """`path` seen from `folder`, cleaned; with `keep_slash` a trailing `/` or `/.` stays a trailing `/`."""
    whole = clean("/" + path if path.startswith("/") else f"/{folder}/{path}")
    whole = "/" + whole.lstrip("/")
    if keep_slash and path.endswith(("/", "/.")) and whole != "/":
        return whole + "/"
    return whole


def workdir(current: str, path: str) -> str:
    """Of WORKDIR: an absolute path stays as it is written, `//a/` and all; that is what the config then says."""
    return path if path.startswith("/") else absolute(current or "/", path)


def destination(cwd: str, path: str) -> str:
    """Of COPY and ADD: "" and "." mean the working folder, as a folder."""
    return absolute(cwd, "./" if path in ("", ".") else path, keep_slash=True)


def from_context(path: str) -> str:
    """A source's path inside its root: nothing is above the root."""
    return absolute("/", path)
