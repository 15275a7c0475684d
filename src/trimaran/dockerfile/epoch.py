"""SOURCE_DATE_EPOCH that says where the time is: in the context, in a named one, or in a stage that fetches something.

As the Dockerfile language has it since 1.24: a git repository has the time of its commit, what the web gives that of
its `Last-Modified`, else an archive that of its newest file; folders and images have none.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from trimaran.dockerfile.arguments import EPOCH, predefined, with_global
from trimaran.dockerfile.contexts import Loaded, NamedContexts
from trimaran.dockerfile.instructions import Arg, Copy
from trimaran.dockerfile.problems import DockerfileError
from trimaran.dockerfile.remote import named_source, remote_source
from trimaran.dockerfile.stages import Program, Stage
from trimaran.dockerfile.words import Expander
from trimaran.errors import UsageError
from trimaran.graph.frontend import Bridge, FrontendRequest
from trimaran.graph.ops import SCRATCH_INPUT, CopyAction, FileAction, FileOp, SourceOp
from trimaran.graph.vertex import Hints, Vertex

_SECOND = 1_000_000_000
_ONE_ADD = "a stage that SOURCE_DATE_EPOCH names has one ADD of a URL on scratch, and ARG beside it"


async def with_epoch(
    request: FrontendRequest, loaded: Loaded, text: Program, contexts: NamedContexts, bridge: Bridge
) -> FrontendRequest:
    """The request with the time as a number, as if it had been given so; "" where what is named has no time."""
    given = dict(request.build_args)
    word = _word(request, text, given)
    if not word or word.removeprefix("-").isdigit():
        return request
    source = _source(word, request, loaded, text, contexts)
    seconds = await _time(source, bridge) if source is not None else 0
    arguments = given | {EPOCH: str(seconds) if seconds else ""}
    return msgspec.structs.replace(request, build_args=tuple(arguments.items()))


def _word(request: FrontendRequest, text: Program, given: Mapping[str, str]) -> str:
    if request.source_date_epoch is not None:
        return ""
    values = predefined(request.build_platform, request.build_platform, request.target, given)
    values = with_global(values, text.arguments, Expander(text.document.escape), given)
    return given.get(EPOCH, values.get(EPOCH, ""))


def _source(
    word: str, request: FrontendRequest, loaded: Loaded, text: Program, contexts: NamedContexts
) -> SourceOp | None:
    if word == "context":
        op = loaded.context.steps[0].op if loaded.context is not None else None
        return op if isinstance(op, SourceOp) else None
    named = contexts.find(word, request.build_platform)
    if named is not None:
        return named_source(named.value)
    for stage in text.stages:
        if stage.name and stage.name == word.lower():
            return _of_stage(stage, request, text)
    raise UsageError(
        f"read SOURCE_DATE_EPOCH {word!r}: neither seconds since 1970 nor a stage or context",
        hint="for example $(git log -1 --format=%ct), or context for the time of a remote context",
    )


def _of_stage(stage: Stage, request: FrontendRequest, text: Program) -> SourceOp:
    expander, given = Expander(text.document.escape), dict(request.build_args)
    values = predefined(request.build_platform, request.build_platform, request.target, given)
    values = with_global(values, text.arguments, expander, given)
    if expander.word(stage.head.base, values) != "scratch":
        raise stage.head.node.error("SOURCE_DATE_EPOCH names it, and it is not on scratch", hint=_ONE_ADD)
    found: SourceOp | None = None
    for item in stage.instructions:
        if isinstance(item, Arg):
            values = with_global(values, (item,), expander, given)
            continue
        remote = _fetched(item, expander, values) if isinstance(item, Copy) and found is None else None
        if remote is None:
            raise item.node.error("SOURCE_DATE_EPOCH names this stage, in which it can't stand", hint=_ONE_ADD)
        found = remote
    if found is None:
        raise stage.head.node.error("SOURCE_DATE_EPOCH names it, and it fetches nothing", hint=_ONE_ADD)
    return found


def _fetched(item: Copy, expander: Expander, values: Mapping[str, str]) -> SourceOp | None:
    if not item.is_add or len(item.sources) != 1 or item.files:
        return None
    url, checksum = expander.word(item.sources[0], values), expander.word(item.checksum, values)
    try:
        remote = remote_source(url, msgspec.structs.replace(item, sources=(url,), checksum=checksum))
    except DockerfileError as error:
        raise item.node.error(error.message, hint=error.hint) from None
    return remote.op if remote is not None else None


async def _time(source: SourceOp, bridge: Bridge) -> int:
    """Seconds since 1970; 0 where it has none."""
    hints = Hints(name="[internal] find SOURCE_DATE_EPOCH")
    if source.identifier.startswith("git://"):
        dated = tuple(sorted({**dict(source.attrs), "git.mtime": "commit"}.items()))
        edge = Vertex(msgspec.structs.replace(source, attrs=dated), hints=hints).edge()
        return await (await bridge.solve(edge)).newest() // _SECOND
    edge = Vertex(source, hints=hints).edge()
    found = await (await bridge.solve(edge)).newest() // _SECOND
    name = dict(source.attrs).get("http.filename", "")
    if found or not name:
        return found
    work = CopyAction(src="/" + name, dest="/", attempt_unpack=True)
    unpacked = FileOp((FileAction(input=SCRATCH_INPUT, secondary_input=0, output=0, work=work),))
    return await (await bridge.solve(Vertex(unpacked, (edge,), hints=hints).edge())).newest() // _SECOND
