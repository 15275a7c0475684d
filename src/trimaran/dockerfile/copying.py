"""COPY and ADD of local files, of other stages and images, of what URLs name, and of heredocs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trimaran.dockerfile import paths
from trimaran.dockerfile.drafts import Draft
from trimaran.dockerfile.expansion import IN_HEREDOC
from trimaran.dockerfile.instructions import Copy, InlineFile
from trimaran.dockerfile.names import command_name, step_name
from trimaran.dockerfile.owners import owner
from trimaran.dockerfile.parents import Kept, read_path, with_parents
from trimaran.dockerfile.problems import DockerfileError
from trimaran.dockerfile.remote import RemoteSource, check_checksum, looks_remote, remote_source, shown_url
from trimaran.dockerfile.state import Command, StageState, Target
from trimaran.dockerfile.words import Expander
from trimaran.graph.ops import (
    SCRATCH_INPUT,
    SKIP_OUTPUT,
    CopyAction,
    FileAction,
    FileOp,
    MergeOp,
    MkFileAction,
    Op,
    Owner,
)


def add_copy(state: StageState, command: Command, item: Copy, target: Target) -> None:
    """Append one file op with an action per source to the stage."""
    word = target.expander
    env = state.env
    item = _expanded(item, word, env)
    with _at_flag(item, "checksum"):
        remotes = _remotes(item)
    root, read = _root(state, command, item, target)
    linked = item.link and not item.chmod  # BuildKit lets --chmod win
    base = [state.draft] if state.draft is not None and not linked else []
    with _at_flag(item, "chmod"):
        mode, mode_text = _mode(item.chmod)
    with _at_flag(item, "chown"):
        own = _owner(item, linked=linked, has_base=bool(base))
    actions = _Actions(base, own, mode, mode_text, target)
    destination = paths.destination(state.cwd, item.destination)
    shown = shown_url(command_name(item.node.code, word, env))
    name = step_name(state, shown, prefixed=target.prefixed, platform=state.platform, env=env)
    for source in item.sources:
        if source in remotes:
            fetched = target.drafts.add(remotes[source].op, name=name, where=item.node.where)
            actions.add_remote(fetched, remotes[source].path, destination, item)
            continue
        read.add(read_path(source) if item.parents else paths.from_context(source))
        actions.add_path(root, source, destination, item)
    for file in item.files:
        content = IN_HEREDOC.word(file.content, env) if file.expand else file.content
        actions.add_file(state, InlineFile(file.name, content, expand=False), destination, item)
    below = state.draft
    state.draft = _step(state, item, target, FileOp(actions.finish()), actions.inputs, name)
    if linked and below is not None:
        state.index -= 1  # copying and putting on top count as one
        name = step_name(state, f"LINK {shown}", prefixed=target.prefixed, platform=state.platform, env=env)
        state.draft = _step(state, item, target, MergeOp((0, 1)), [below, state.draft], name)
    state.image.add_history(_history(item), layer=True, created=target.created)


@contextmanager
def _at_flag(item: Copy, name: str) -> Iterator[None]:
    """What goes wrong is the flag's fault, where it is given."""
    try:
        yield
    except DockerfileError as error:
        if error.where is not None:
            raise
        raise item.node.error(error.cause, item.node.flag(name), hint=error.hint) from None


def _step(state: StageState, item: Copy, target: Target, op: Op, inputs: list[Draft], name: str) -> Draft:
    return target.drafts.add(
        op,
        inputs,
        name=name,
        platform=state.platform,
        where=item.node.where,
        ignore_cache=state.ignore_cache,
        place=state.place,
    )


def _owner(item: Copy, *, linked: bool, has_base: bool) -> Owner | None:
    try:
        return owner(item.chown, input=0 if has_base else SCRATCH_INPUT)
    except DockerfileError as error:
        if not linked or not error.cause.startswith("look up"):
            raise
        cause = f"use --chown={item.chown} with --link: names are looked up in the stage, which --link does not read"
        raise DockerfileError(cause, hint="give numbers, or take --link away") from None


class _Actions:
    """Copies one after the other: each works on what the one before made."""

    def __init__(self, base: list[Draft], own: Owner | None, mode: int, mode_text: str, target: Target) -> None:
        self.inputs = list(base)
        self._has_base = bool(base)
        self._owner, self._mode, self._mode_text = own, mode, mode_text
        self._target = target
        self._work: list[tuple[int, CopyAction]] = []

    def _input(self, draft: Draft | None) -> int:
        if draft is None:
            return SCRATCH_INPUT
        if draft not in self.inputs:
            self.inputs.append(draft)
        return self.inputs.index(draft)

    def add_path(self, root: Draft | None, source: str, destination: str, item: Copy) -> None:
        kept = with_parents(source) if item.parents else Kept(paths.from_context(source), (), ())
        work = CopyAction(
            src=kept.folder,
            dest=destination,
            owner=self._owner,
            mode=self._mode,
            mode_text=self._mode_text,
            follow_symlink=True,
            dir_copy_contents=True,
            attempt_unpack=item.is_add if item.unpack is None else item.unpack,
            create_dest_path=True,
            allow_wildcard=True,
            allow_empty_wildcard=True,
            timestamp=self._target.copied_timestamp,
            include_patterns=kept.include,
            exclude_patterns=item.excludes,
            required_paths=kept.required,
        )
        self._work.append((self._input(root), work))

    def add_remote(self, fetched: Draft, path: str, destination: str, item: Copy) -> None:
        work = CopyAction(
            src=path,
            dest=destination,
            owner=self._owner,
            mode=self._mode,
            mode_text=self._mode_text,
            attempt_unpack=path != "/" and bool(item.unpack),
            create_dest_path=True,
            timestamp=self._target.copied_timestamp,
            exclude_patterns=item.excludes,
        )
        self._work.append((self._input(fetched), work))

    def add_file(self, state: StageState, file: InlineFile, destination: str, item: Copy) -> None:
        path = paths.absolute("/", file.name)
        data = file.content.encode("utf-8", "surrogateescape")
        draft = self._target.drafts.add(
            FileOp((FileAction(output=0, work=MkFileAction(path=path, mode=0o644, data=data)),)),
            name="[internal] preparing inline document",
            platform=state.platform,
        )
        work = CopyAction(
            src=path,
            dest=destination,
            owner=self._owner,
            mode=self._mode,
            mode_text=self._mode_text,
            create_dest_path=True,
            timestamp=self._target.copied_timestamp,
            exclude_patterns=item.excludes,
        )
        self._work.append((self._input(draft), work))

    def finish(self) -> tuple[FileAction, ...]:
        actions = []
        for index, (source, work) in enumerate(self._work):
            before = len(self.inputs) + index - 1 if index else 0 if self._has_base else SCRATCH_INPUT
            last = index == len(self._work) - 1
            actions.append(
                FileAction(input=before, secondary_input=source, output=0 if last else SKIP_OUTPUT, work=work)
            )
        return tuple(actions)


def _expanded(item: Copy, word: Expander, env: dict[str, str]) -> Copy:
    from msgspec.structs import replace

    return replace(
        item,
        sources=tuple(word.word(source, env) for source in item.sources),
        destination=word.word(item.destination, env),
        chown=word.word(item.chown, env),
        chmod=word.word(item.chmod, env),
        checksum=word.word(item.checksum, env),
        excludes=tuple(word.word(pattern, env) for pattern in item.excludes),
    )


def _root(state: StageState, command: Command, item: Copy, target: Target) -> tuple[Draft | None, set[str]]:
    """What sources are paths of, and where to note that they are read."""
    if not command.sources:
        return (target.context, target.context_paths) if item.sources else (None, set())
    source = command.sources[0]
    assert source is not None
    if not source.dispatched:
        raise item.node.error(
            f'cannot copy from stage "{item.source_stage}", it needs to be defined before current stage "{state.name}"',
            item.node.flag("from"),
            hint="move that stage up",
        )
    return source.draft, source.paths


def _mode(text: str) -> tuple[int, str]:
    """(octal mode or -1, symbolic mode or ""); with a symbolic one the octal one is 0, as BuildKit writes it."""
    if not text:
        return -1, ""
    if not text.strip("01234567"):
        if len(text) > 12 or int(text, 8) > 0o7777:
            raise _bad_mode(text)
        return int(text, 8), ""
    if text[:1].isdigit():
        raise _bad_mode(text)
    for clause in text.split(","):
        _check_clause(clause, text)
    return 0, text


def _check_clause(clause: str, text: str) -> None:
    rest = clause.lstrip("ugoa")
    if not rest or rest[0] not in "+-=" or rest.strip("+-=rwxXstugo"):
        raise DockerfileError(f"invalid chmod parameter: {text!r}", hint="octal such as 0755, or such as u=rwX,go=rX")


def _bad_mode(text: str) -> DockerfileError:
    return DockerfileError(
        f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777",
        hint="octal such as 0755, or such as u=rwX,go=rX",
    )


def _history(item: Copy) -> str:
    parts = ["ADD" if item.is_add else "COPY"]
    if item.parents:
        parts.append("--parents")
    if item.chown:
        parts.append(f"--chown={item.chown}")
    if item.chmod:
        parts.append(f"--chmod={item.chmod}")
    parts += [*map(shown_url, item.sources), *("<<" + file.name for file in item.files), item.destination]
    return " ".join(parts) + " # buildkit"


def _remotes(item: Copy) -> dict[str, RemoteSource]:
    """The sources that are fetched, by what they are called."""
    found = {source: remote_source(source, item) for source in item.sources if looks_remote(source)}
    remotes = {source: remote for source, remote in found.items() if remote is not None}
    check_checksum(item, len(remotes))
    return remotes
