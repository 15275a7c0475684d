"""What the solver asks of its hosts: steps that run, results they give, an index that remembers them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

import msgspec

from trimaran.digest import Digest
from trimaran.errors import NotFound
from trimaran.events import Progress
from trimaran.graph.vertex import Vertex


class Result(Protocol):
    """One output of a step. Equal ids are equal content for every step that reads them whole."""

    @property
    def id(self) -> str: ...


class KeyInput(msgspec.Struct, frozen=True, array_like=True):
    """One thing a step reads: its name for people ("copy 0: src"), which is not in the key, and what it is now."""

    name: str
    value: str
    number: int = -1
    """Of the vertex's input it is of; -1: of none."""


INSTRUCTION = "instruction"
"""The kind of the aspect that says which sort of instruction an op is of: others are no edit of it."""


class Aspect(msgspec.Struct, frozen=True, array_like=True):
    """One thing an op says: what kind of thing, its name where there are several, and a short digest of the value."""

    kind: str
    name: str
    value: str


class ReadList(msgspec.Struct, frozen=True, array_like=True):
    """Input `number` of a record, file by file: the index keeps the list under `top`."""

    number: int
    top: bytes
    count: int


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What a step did and read, so that a later one can be compared with it. No value a person wrote is in it."""

    place: str = ""
    """Where in which build file the step stands; equal for the same instruction across edits."""
    aspects: tuple[Aspect, ...] = ()
    below: tuple[str, ...] = ()
    """Per input of the vertex: a source's URL, or the name of the step that made it."""
    lists: tuple[ReadList, ...] = ()


class CacheRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a step gave, under the key of what it read. Stored whole: `explain` compares inputs, not digests."""

    key: Digest
    op: Digest
    """Of the op alone: earlier records of the same op are what a miss is compared with."""
    inputs: tuple[KeyInput, ...]
    results: tuple[tuple[str, ...], ...]
    """Per output: the result's parts (layer ids, lowest first)."""
    description: str = ""
    created: int = 0
    """Nanoseconds since the epoch."""
    seconds: float = 0.0
    account: Account | None = None
    """None in records of older versions, and where nobody keeps accounts."""
    origin: str = ""
    """The shared cache that gave the result, for people; "" for what was made here."""


class Eviction(msgspec.Struct, frozen=True, kw_only=True):
    """Why records went: `prune` was asked for, `limit` and `age` are the settings', `fsck` and `lost` found damage."""

    cause: Literal["prune", "limit", "age", "fsck", "lost"]
    limit: int = 0
    """Bytes the store was to stay below; 0: there was no such limit."""


class Tombstone(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a record that went: it without results and lists, when (ns) and why."""

    record: CacheRecord
    at: int
    why: Eviction


class Step(Protocol):
    """An op ready to run."""

    @property
    def op(self) -> Digest:
        """Names what is done, not what it is done to: inputs, secrets and proxies are not in it."""
        ...

    @property
    def remembered(self) -> bool:
        """Whether results are looked up and recorded at all (sources: no, they know better themselves)."""
        ...

    @property
    def renewable(self) -> bool:
        """Whether running it again is no more than reading again what it read: no process runs, nothing is fetched."""
        ...

    @property
    def execution(self) -> str:
        """After the run: "native", "cross", "emulated", or "" where no process ran."""
        ...

    @property
    def served(self) -> bool:
        """After the run: nothing had to be done, which is shown as cached."""
        ...

    async def reads(self, inputs: Sequence[Result]) -> tuple[KeyInput, ...]:
        """What of `inputs` the result depends on, in a fixed order. May hash files; never changes anything."""
        ...

    async def run(self, inputs: Sequence[Result], progress: Progress) -> tuple[Result, ...]:
        """Do it: one result per output. Cancellation leaves nothing behind."""
        ...


class Miss(msgspec.Struct, frozen=True, kw_only=True):
    """A step that has to run, as asked of an `Explainer`."""

    vertex: Vertex
    key: Digest
    op: Digest
    reads: tuple[KeyInput, ...]
    step: Step
    inputs: Sequence[Result]
    graph: Collection[Vertex]
    """All vertices of the build so far."""
    broken: str | None = None
    """There was a record in this store ("") or in a shared cache (its name), but what it promises is gone."""


class Accounted(msgspec.Struct, frozen=True):
    """The account to keep in the step's record, and the pages of its lists."""

    account: Account | None = None
    pages: tuple[tuple[bytes, bytes], ...] = ()


class Explainer(Protocol):
    """Is told of misses alone: a build that hits everywhere never asks it."""

    async def missed(self, miss: Miss) -> Accounted:
        """Before the step runs. Whatever it raises fails the step."""
        ...

    def adopted(self, vertex: Vertex) -> None:
        """The step ran, and gave what it had given before."""
        ...


class Observer(Protocol):
    """Is told how a build goes on, as it does; returns at once."""

    def runs(self, vertex: Vertex) -> None:
        """The step runs: nobody had its result."""
        ...

    def gives(self, vertex: Vertex, results: Sequence[Result]) -> None:
        """Made, found or promised; again when it turned out gone."""
        ...


class Index(Protocol):
    """Remembers records. `find` bumps the record's last use."""

    def find(self, key: Digest) -> CacheRecord | None: ...

    def alike(self, op: Digest) -> Sequence[CacheRecord]:
        """The latest records of the same op, whatever they read, latest first."""
        ...

    def save(self, record: CacheRecord, pages: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """`pages`: what the lists of the record's account name, kept as long as it."""
        ...

    def drop(self, key: Digest) -> None: ...

    def lock(self, key: Digest) -> AbstractAsyncContextManager[None]:
        """Held by one process at a time; waiting costs no thread."""
        ...


class Results(Protocol):
    """Turns records back into results, and compares results: implemented over the store."""

    def restore(self, record: CacheRecord) -> tuple[Result, ...] | None:
        """None when a promised part is gone (the record is then dropped)."""
        ...

    def gone(self, part: str) -> None:
        """Somebody looked for `part` in vain, whatever was known of it."""
        ...

    def parts(self, result: Result) -> tuple[str, ...]: ...

    async def adopt(self, earlier: CacheRecord, now: tuple[Result, ...]) -> tuple[Result, ...]:
        """`now`, with its newest layers replaced by `earlier`'s where their entry lists are equal but for mtime.

        That is early cut-off: what reads the result then finds the ids it knows, and hits.
        """
        ...


Matches = frozenset[int]
"""Records of a shared cache that an edge may be; their numbers mean something to that cache alone."""


class SharedCache(Protocol):
    """Results others made, under keys of their own: a graph of links, entered by sources or by content.

    It is asked after our own records. What a vertex matches follows from what its inputs match, so it can be known of
    vertices whose inputs nobody made here.
    """

    def expect(self, order: Sequence[Vertex]) -> None:
        """These vertices will be asked about, inputs first."""
        ...

    async def match(
        self, vertex: Vertex, inputs: Sequence[Matches], results: Sequence[Result | None]
    ) -> tuple[Matches, ...]:
        """Per output; `inputs` are the matches of the input edges, `results` what is known of them already."""
        ...

    def restore(self, matches: Sequence[Matches]) -> tuple[Result, ...] | None:
        """Promises, one per output; None when there is none to be had."""
        ...

    def origin(self, matches: Sequence[Matches]) -> str:
        """Of what `restore` gives: the name of the cache that has it, for people."""
        ...

    def gone(self, part: str) -> str | None:
        """The part was looked for in vain: no promise with it is made again.

        The name of the cache that made one, "" if this store kept it; None if there was none.
        """
        ...


class ResultGone(NotFound):
    """A promised part is not there any more: whoever made it has to run again."""

    def __init__(self, part: str) -> None:
        super().__init__(f"read layer {part}: it is gone from the store")
        self.part = part
