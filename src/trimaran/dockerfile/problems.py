"""What is wrong in a Dockerfile, said with BuildKit's words where it has some, and the nearest right word."""

from __future__ import annotations

from trimaran.errors import Location, UsageError


class DockerfileError(UsageError):
    """`cause` is the bare sentence; the message names the line in front of it."""

    def __init__(self, cause: str, *, hint: str = "", where: Location | None = None) -> None:
        line = where.ranges[0].start.line if where and where.ranges else 0
        super().__init__(f"dockerfile parse error on line {line}: {cause}" if line else cause, hint=hint, where=where)
        self.cause = cause
