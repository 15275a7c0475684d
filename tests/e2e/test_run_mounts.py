"""RUN --mount in every form, with real roots, sockets and memory, as root and as an ordinary account."""

from __future__ import annotations

import pytest


def build(command, context, text, *words, **options):
    """Build, and what the steps said."""
    context.dockerfile(text)
    return command("build", "--progress=plain", "--no-cache", *words, ".", cwd=context.folder, **options).stderr


def test_bind_of_the_context(either, bases, context):
    context.write("sub/hello", "from the context\n")
    said = build(
        either,
        context,
        """FROM alpine
RUN --mount=type=bind,target=/ctx cat /ctx/sub/hello && ! touch /ctx/new
RUN --mount=source=sub,target=/ctx,rw echo changed > /ctx/hello && cat /ctx/hello
RUN --mount=source=sub/hello,target=/one cat /one
RUN test ! -e /ctx && test ! -e /one
""",
    )
    assert said.count("from the context") == 2
    assert "changed" in said
    assert "Read-only file system" in said
    assert (context / "sub/hello").read_text() == "from the context\n"
