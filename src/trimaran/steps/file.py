"""How a FileOp runs: its actions become one new layer's entry list; no file is touched until somebody needs bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trimaran import aio
from trimaran.digest import Digest
from trimaran.errors import NotFound
from trimaran.events import Progress
from trimaran.graph import ops
from trimaran.graph.ops import CopyAction, FileOp, MkDirAction, MkFileAction, RmAction, SymlinkAction
from trimaran.graph.vertex import Vertex
from trimaran.solver.protocols import KeyInput, Result
from trimaran.steps import select
from trimaran.steps.context import StepContext
from trimaran.steps.copy import NEW_FOLDER_MODE, Copier, Placement
from trimaran.steps.draft import Draft
from trimaran.steps.identity import file_op_identity
from trimaran.steps.modes import parse_mode
from trimaran.steps.users import group_id, user_id
from trimaran.store.entries import FILE, FOLDER, SYMLINK, Entry, EntryList
from trimaran.store.folder import Inline
from trimaran.store.layers import LayerId
from trimaran.store.rootfs import Rootfs
from trimaran.store.views import View

if TYPE_CHECKING:
    from trimaran.steps.unpack import Unpacked

_SMALL_FILE = 4 << 20
"""Bytes read of an image's passwd or group at most (T19b)."""


class FileStep:
    """See `solver.protocols.Step`."""

    remembered = True
    renewable = True
    served = False
    execution = ""

    def __init__(self, vertex: Vertex, context: StepContext) -> None:
        assert isinstance(vertex.op, FileOp)
        self._op = vertex.op
        self._count = len(vertex.inputs)
        self._context = context
        self.op = file_op_identity(self._op)

    async def reads(self, inputs: Sequence[Result]) -> tuple[KeyInput, ...]:
        read = [KeyInput(f"rootfs {number}", inputs[number].id, number) for number in sorted(self._written_on())]
        for position, (number, work) in enumerate(self._copies()):
            view = await self._context.view(inputs[number])
            chosen = _chosen(view, work)
            contents = await view.digests(select.files(view.tree, chosen))
            value = select.digest(view.tree, chosen, contents, "content" if work.dir_copy_contents else "named")
            read.append(KeyInput(f"copy {position}: {select.clean(work.src)}", value, number))
        return tuple(read)

    async def lists(self, inputs: Sequence[Result]) -> dict[int, EntryList]:
        """What `reads` read file by file, by its number there."""
        found = {}
        for position, (number, work) in enumerate(self._copies(), len(self._written_on())):
            view = await self._context.view(inputs[number])
            chosen = _chosen(view, work)
            contents = await view.digests(select.files(view.tree, chosen))
            found[position] = await aio.in_thread(select.listed, view.tree, chosen, contents)
        return found

    def _copies(self) -> list[tuple[int, CopyAction]]:
        """Copies from an input of the op, with its number."""
        return [
            (action.secondary_input, action.work)
            for action in self._op.actions
            if isinstance(action.work, CopyAction) and 0 <= action.secondary_input < self._count
        ]

    async def run(self, inputs: Sequence[Result], progress: Progress) -> tuple[Result, ...]:
        states: list[_State] = []
        results: dict[int, Result] = {}
        for action in self._op.actions:
            state = await self._state(action.input, inputs, states, progress)
            await self._apply(action, state, inputs, states)
            states.append(state)
            if action.output >= 0:
                results[action.output] = await self._result(state)
        return tuple(results[number] for number in range(len(results)))

    def _written_on(self) -> set[int]:
        """Inputs whose whole tree decides where things land, or whose users are looked up."""
        wanted = {action.input for action in self._op.actions}
        for action in self._op.actions:
            owner = getattr(action.work, "owner", None)
            if owner is not None:
                wanted |= {part.input for part in (owner.user, owner.group) if isinstance(part, ops.NamedUser)}
            if action.secondary_input >= 0 and not isinstance(action.work, CopyAction):
                wanted.add(action.secondary_input)
        return {number for number in wanted if 0 <= number < self._count}

    async def _state(
        self, number: int, inputs: Sequence[Result], states: Sequence[_State], progress: Progress
    ) -> _State:
        if number >= self._count:
            return states[number - self._count].fork()
        base = inputs[number] if number >= 0 else Rootfs(())
        assert isinstance(base, Rootfs)
        return _State(base, Draft(await self._context.store.roots.tree(base, progress=progress)))

    async def _result(self, state: _State) -> Result:
        entries = state.draft.finish()
        name = LayerId(entries.digest_of(made=self._context.now))
        layer = await self._context.store.layers.add(entries, state.draft.origins, name)
        return Rootfs((*state.base.layers, layer))

    async def _apply(
        self, action: ops.FileAction, state: _State, inputs: Sequence[Result], states: Sequence[_State]
    ) -> None:
        work = action.work
        if isinstance(work, CopyAction):
            await self._copy(action.secondary_input, work, state, inputs, states)
        elif isinstance(work, MkDirAction):
            await self._make_folder(work, state, inputs)
        elif isinstance(work, MkFileAction):
            await self._make_file(work, state, inputs)
        elif isinstance(work, SymlinkAction):
            uid, gid = await self._owner(work.owner, inputs) or (0, 0)
            path = state.draft.resolve(select.clean(work.new_path), follow_last=False)
            state.draft.put(Entry(path, SYMLINK, 0o777, uid, gid, self._time(work.timestamp), target=work.old_path))
        else:
            _remove(work, state.draft)

    async def _copy(
        self,
        number: int,
        work: CopyAction,
        state: _State,
        inputs: Sequence[Result],
        states: Sequence[_State],
    ) -> None:
        view = await self._source_view(number, inputs, states)
        chosen = _chosen(view, work)
        wanted = select.files(view.tree, chosen)
        contents = await view.digests(wanted)
        origins = await view.origins(wanted)
        owner = await self._owner(work.owner, inputs)
        placement = Placement(
            owner=owner,
            mode=parse_mode(work.mode, work.mode_text),
            now=self._context.now,
            timestamp=work.timestamp,
        )
        copier = Copier(state.draft, view.tree, contents, origins, placement)
        for source in chosen:
            if work.attempt_unpack and source.entry.kind == FILE:
                from trimaran.steps.unpack import unpack_archive

                unpacked = await unpack_archive(self._context, origins[source.followed])
                if unpacked is not None:
                    _place_archive(unpacked, state.draft, work, placement)
                    continue
            copier.copy(source, work)

    async def _source_view(self, number: int, inputs: Sequence[Result], states: Sequence[_State]) -> View:
        if number >= self._count:
            state = states[number - self._count]
            return await self._context.view(await self._result(state))
        return await self._context.view(inputs[number] if number >= 0 else Rootfs(()))

    async def _make_folder(self, work: MkDirAction, state: _State, inputs: Sequence[Result]) -> None:
        uid, gid = await self._owner(work.owner, inputs) or (0, 0)
        path = state.draft.resolve(select.clean(work.path))
        if state.draft.get(path) is not None and work.make_parents:
            state.draft.make_folders(path, mode=work.mode, uid=uid, gid=gid, mtime=self._time(work.timestamp))
            return
        if work.make_parents:
            state.draft.make_folders(path, mode=work.mode, uid=uid, gid=gid, mtime=self._time(work.timestamp))
        else:
            state.draft.put(Entry(path, FOLDER, work.mode, uid, gid, self._time(work.timestamp)))

    async def _make_file(self, work: MkFileAction, state: _State, inputs: Sequence[Result]) -> None:
        uid, gid = await self._owner(work.owner, inputs) or (0, 0)
        path = state.draft.resolve(select.clean(work.path))
        entry = Entry(
            path,
            FILE,
            work.mode,
            uid,
            gid,
            self._time(work.timestamp),
            size=len(work.data),
            digest=Digest.of(work.data),
        )
        state.draft.put(entry, Inline(work.data))

    def _time(self, timestamp: int) -> int:
        """Nanoseconds of an action's timestamp, which BuildKit gives in nanoseconds; -1 means the build's time."""
        return self._context.now if timestamp < 0 else timestamp

    async def _owner(self, owner: ops.Owner | None, inputs: Sequence[Result]) -> tuple[int, int] | None:
        """uid and gid; a user given without a group brings its own number (or its passwd group) along."""
        if owner is None:
            return None
        uid = gid = 0
        if isinstance(owner.user, ops.NamedUser):
            uid, gid = user_id(owner.user.name, await self._small(owner.user.input, "etc/passwd", inputs))
        elif owner.user is not None:
            uid = gid = owner.user
        if isinstance(owner.group, ops.NamedUser):
            gid = group_id(owner.group.name, await self._small(owner.group.input, "etc/group", inputs))
        elif owner.group is not None:
            gid = owner.group
        return uid, gid

    async def _small(self, number: int, path: str, inputs: Sequence[Result]) -> bytes:
        base = inputs[number] if 0 <= number < len(inputs) else Rootfs(())
        assert isinstance(base, Rootfs)
        try:
            return await self._context.store.roots.read_file(base, path, _SMALL_FILE)
        except NotFound:
            return b""


class _State:
    """An input with what the actions changed so far."""

    __slots__ = ("base", "draft")

    def __init__(self, base: Rootfs, draft: Draft) -> None:
        self.base = base
        self.draft = draft

    def fork(self) -> _State:
        return _State(self.base, self.draft.fork())


def _chosen(view: View, work: CopyAction) -> list[select.Source]:
    """The sources; one that is missing from the build context is told with what may be the reason."""
    with select.explained(view):
        return select.sources(view.tree, work)


def _remove(work: RmAction, draft: Draft) -> None:
    path = select.clean(work.path)
    parent, _, last = path.rpartition("/")
    folder = draft.resolve(parent)
    names = [last]
    if work.allow_wildcard and select.has_wildcard(last):
        names = [name for name in draft.children(folder) if select.name_matches(last, name)]
    for name in names:
        target = f"{folder}/{name}" if folder else name
        if name and draft.get(target) is not None:
            draft.remove(target)
        elif not work.allow_not_found:
            raise NotFound(f"remove {work.path}: not found")


def _place_archive(unpacked: Unpacked, draft: Draft, work: CopyAction, placement: Placement) -> None:
    """An unpacked archive lands below the destination, which is made a folder."""
    destination = draft.resolve(select.clean(work.dest))
    uid, gid = placement.owner or (0, 0)
    draft.make_folders(destination, mode=NEW_FOLDER_MODE, uid=uid, gid=gid, mtime=placement.made)
    unpacked.place(draft, destination, owner=placement.owner, now=placement.made)
