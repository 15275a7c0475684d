"""What a Dockerfile says, typed: one value per instruction, variables still unexpanded. `reading` makes them."""

from __future__ import annotations

import msgspec

from trimaran.dockerfile.parse import Node, Word


class Instruction(msgspec.Struct, frozen=True, kw_only=True):
    node: Node


class Pair(msgspec.Struct, frozen=True):
    name: str
    value: str


class Env(Instruction, frozen=True):
    pairs: tuple[Pair, ...]


class Label(Instruction, frozen=True):
    pairs: tuple[Pair, ...]


class Maintainer(Instruction, frozen=True):
    text: str


class InlineFile(msgspec.Struct, frozen=True):
    """A heredoc of COPY or ADD."""

    name: str
    content: str
    expand: bool


class Copy(Instruction, frozen=True, kw_only=True):
    """COPY or, with `is_add`, ADD."""

    is_add: bool
    sources: tuple[str, ...]
    files: tuple[InlineFile, ...]
    destination: str
    source_stage: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    excludes: tuple[str, ...] = ()
    checksum: str = ""
    unpack: bool | None = None
    keep_git_dir: bool | None = None


class From(Instruction, frozen=True, kw_only=True):
    base: str
    name: str = ""
    platform: str = ""
    comment: str = ""


class Onbuild(Instruction, frozen=True):
    expression: str


class Workdir(Instruction, frozen=True):
    path: str


class Command(Instruction, frozen=True, kw_only=True):
    """What RUN, CMD and ENTRYPOINT say: arguments, or one text for the shell."""

    arguments: tuple[str, ...]
    in_shell: bool


class Run(Command, frozen=True, kw_only=True):
    mounts: tuple[Word, ...] = ()
    network: str = "default"
    security: str = "sandbox"
    devices: tuple[str, ...] = ()


class Cmd(Command, frozen=True):
    pass


class Entrypoint(Command, frozen=True):
    pass


class Healthcheck(Instruction, frozen=True, kw_only=True):
    """Times in nanoseconds; 0: inherit."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Expose(Instruction, frozen=True):
    ports: tuple[str, ...]


class User(Instruction, frozen=True):
    user: str


class Volume(Instruction, frozen=True):
    paths: tuple[str, ...]


class StopSignal(Instruction, frozen=True):
    signal: str


class ArgItem(msgspec.Struct, frozen=True):
    name: str
    value: str | None = None
    comment: str = ""


class Arg(Instruction, frozen=True):
    items: tuple[ArgItem, ...]


class Shell(Instruction, frozen=True):
    arguments: tuple[str, ...]
