"""Build records: what was built when, its events, and every byte its steps wrote.

`builds/<id>/record.json` (the build), `events.jsonl` (vertices, statuses, warnings as they happened), `<n>.log` (what
step n wrote, raw and whole, never clipped), `made.msgpack` (what is needed to make its image again). Old builds go by
the settings' `[history]`.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from trimaran.digest import Digest
from trimaran.engine.request import BuildOutcome, BuildRequest, StepRecord
from trimaran.errors import NOT_CACHED, Conflict, NotFound, StepFailed
from trimaran.events import CANCELED, Event, LogEvent, Sink, VertexEvent
from trimaran.oci.descriptor import Descriptor
from trimaran.settings import HistorySettings
from trimaran.sources.lock import LockEntry
from trimaran.store import build_logs
from trimaran.store.disk import disk_errors, in_our_words
from trimaran.store.packing import pack, unpack, unpack_json

if TYPE_CHECKING:
    from trimaran.misses import Unfinished

MADE = "made.msgpack"
_ENCODER = msgspec.json.Encoder(enc_hook=str)
"""Digests are written as plain text: the encoder takes no subclass of str by itself."""


class BuildRecord(msgspec.Struct, frozen=True, kw_only=True):
    build_id: str
    name: str
    started: int
    completed: int = 0
    status: str = "running"
    """running | completed | error | canceled"""
    error: str = ""
    steps: tuple[StepRecord, ...] = ()
    verification: bool = False
    """Nobody's build: `verify` made it to compare it with another. It is found by its id alone."""


class MadeImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image, and the request and the sources it was made from."""

    request: BuildRequest
    root: Descriptor
    lock: tuple[LockEntry, ...] = ()


def made_image(root: str, build_id: str) -> MadeImage | None:
    """What a build made; None when it made no image, or its context's URL holds a password.

    Conflict when another version wrote it and meant more than this one understands.
    """
    try:
        with open(os.path.join(root, "builds", build_id, MADE), "rb") as file:
            written = file.read()
    except OSError:
        return None
    try:
        made = unpack(written, MadeImage)
        understood = _holds(msgspec.msgpack.decode(pack(made)), msgspec.msgpack.decode(written))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        understood = False
    if not understood:
        raise Conflict(
            f"read build {build_id}: another version of Trimaran wrote down how it was made",
            hint="use that one, or say what to build from: verify IMAGE CONTEXT, with the options it was built with",
        )
    return made


def _holds(all_of_it: Any, part: Any) -> bool:
    """Whether every field of `part` came over; an older version had fewer, and their defaults mean what it did."""
    if isinstance(part, dict) and isinstance(all_of_it, dict):
        return all(key in all_of_it and _holds(all_of_it[key], value) for key, value in part.items())
    if isinstance(part, list) and isinstance(all_of_it, list) and len(part) == len(all_of_it):
        return all(map(_holds, all_of_it, part))
    return bool(all_of_it == part)


class BuildLog:
    """Writes one build's record while it runs. `write` may be called from any thread."""

    def __init__(self, folder: str, build_id: str, request: BuildRequest, keep: HistorySettings) -> None:
        self.folder = folder
        self.build_id = build_id
        self._request = request
        self._keep = keep
        self._started = time.time_ns()
        self._lock = threading.Lock()
        self._events = open(f"{folder}/events.jsonl", "wb", buffering=1 << 16)  # noqa: SIM115 - closed by __exit__
        fcntl.flock(self._events, fcntl.LOCK_SH)  # so long nobody takes this build for an old one
        self._logs: dict[Digest, Any] = {}
        self._steps: dict[Digest, StepRecord] = {}

    @classmethod
    def open(cls, root: str, request: BuildRequest, keep: HistorySettings) -> BuildLog:
        build_id = os.urandom(12).hex()
        builds_folder = os.path.join(root, "builds")
        folder = os.path.join(builds_folder, build_id)
        for path in (builds_folder, folder):  # one by one: makedirs gives its mode to the last alone
            os.makedirs(path, mode=0o700, exist_ok=True)
        return cls(folder, build_id, request, keep)

    def __enter__(self) -> Self:
        return self

    def before(self, sink: Sink) -> Sink:
        """A sink that writes events down and then gives them to `sink`."""

        def tell(event: Event) -> None:
            self.write(event)
            sink(event)

        return tell

    def write(self, event: Event) -> None:
        with self._lock, disk_errors("write build log"):
            if isinstance(event, LogEvent):
                self._log_file(event.vertex).write(event.data)
                return
            if isinstance(event, VertexEvent):
                self._note(event)
            self._events.write(_ENCODER.encode({"kind": type(event).__name__, "event": event}) + b"\n")

    def _note(self, event: VertexEvent) -> None:
        known = self._steps.get(event.digest)
        self._steps[event.digest] = StepRecord(
            number=known.number if known else len(self._steps) + 1,
            name=event.name,
            digest=str(event.digest),
            started=event.started,
            completed=event.completed,
            cached=event.cached,
            error=event.error,
            execution=event.execution,
            logged=event.digest in self._logs,
            place=event.place,
            platform=event.platform,
            key=str(event.key),
            origin=event.origin,
        )

    @property
    def steps(self) -> tuple[StepRecord, ...]:
        """As they stand now, in the order they were announced."""
        with self._lock:
            return self._step_records()

    def _step_records(self) -> tuple[StepRecord, ...]:
        return tuple(msgspec.structs.replace(step, logged=digest in self._logs) for digest, step in self._steps.items())

    def _log_file(self, digest: Digest) -> Any:
        file = self._logs.get(digest)
        if file is None:
            known = self._steps.get(digest)
            number = known.number if known else 0
            file = self._logs[digest] = open(f"{self.folder}/{number}.log", "ab", buffering=1 << 14)  # noqa: SIM115
        return file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, StepFailed):
            self._point_to_log(error)
        failures = []
        with self._lock:
            for close in (*(file.close for file in self._logs.values()), partial(self._write_record, error)):
                try:
                    close()
                except OSError as failure:
                    failures.append(failure)
            forget(os.path.dirname(self.folder), self._keep)
            with suppress(OSError):
                self._events.close()
        if failures and error is None:
            raise in_our_words("write build log", failures[0])

    def keep(self, outcome: BuildOutcome) -> None:
        """What was made and how, so that it can be made again; of secrets only where they were."""
        frontend = self._request.frontend
        urls = (frontend.context_url, *(context.value for context in frontend.named_contexts))
        if outcome.root is None or any(map(_may_hold_a_password, urls)):
            return
        with suppress(OSError):  # a build does not fail for want of it
            request = _repeatable(self._request)
            made = MadeImage(request=request, root=outcome.root, lock=(*request.noted, *outcome.lock))
            with open(os.path.join(self.folder, MADE), "wb") as file:
                file.write(pack(made))

    def _point_to_log(self, error: StepFailed) -> None:
        """Say where everything is that the failed step wrote: displays show only its end."""
        for digest, step in self._steps.items():
            if step.name == error.vertex and digest in self._logs:
                path = f"{self.folder}/{step.number}.log"
                error.hint = "\n".join(filter(None, [error.hint, f"all that the step said: {path}"]))

    def _write_record(self, error: BaseException | None) -> None:
        status = "completed"
        if error is not None:
            status = "error" if isinstance(error, Exception) else "canceled"
        record = BuildRecord(
            build_id=self.build_id,
            name=", ".join(self._request.names) or _context(self._request),
            started=self._started,
            completed=time.time_ns(),
            status=status,
            error=str(error) if error is not None else "",
            steps=self._step_records(),
            verification=self._request.fresh,
        )
        with open(f"{self.folder}/record.json", "wb") as file:
            file.write(msgspec.json.encode(record))


def _repeatable(request: BuildRequest) -> BuildRequest:
    """The request as it may be written down, and repeated in another working folder."""
    frontend = request.frontend
    arguments = tuple(
        (name, value)
        for name, value in frontend.build_args
        if not (name.lower().endswith("_proxy") and ("@" in value or _may_hold_a_password(value)))
    )
    secrets = [
        msgspec.structs.replace(secret, path=os.path.abspath(secret.path)) if secret.path else secret
        for secret in request.secrets
    ]
    agents = [
        msgspec.structs.replace(agent, paths=tuple(map(os.path.abspath, agent.paths))) for agent in request.agents
    ]
    return msgspec.structs.replace(
        request,
        frontend=msgspec.structs.replace(frontend, build_args=arguments),
        secrets=tuple(secrets),
        agents=tuple(agents),
        build_ca=tuple(map(os.path.abspath, request.build_ca)),
        cache_from=(),  # may hold keys of a store
        cache_to=(),
    )


def _may_hold_a_password(url: str) -> bool:
    """`https://user:password@host/…`, `https://token@host/…`, or a signed URL, whose query is one."""
    if "://" not in url:
        return False
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    named = parts.username is not None and parts.scheme != "ssh"  # git@ is who one is there, and no secret
    return named or parts.password is not None or bool(parts.query)


def _context(request: BuildRequest) -> str:
    """Where what is built lies; of a URL no credentials."""
    if request.frontend.context_url:
        from trimaran.registry.errors import redact

        return redact(request.frontend.context_url)
    return dict(request.folders).get("context", "")


def builds(root: str) -> list[BuildRecord]:
    """Finished builds, newest first; folders of killed builds have no record and are left out."""
    folder = os.path.join(root, "builds")
    names = os.listdir(folder) if os.path.isdir(folder) else ()
    return _read(os.path.join(folder, name) for name in names)


def _read(folders: Iterable[str]) -> list[BuildRecord]:
    found = []
    for folder in folders:
        try:
            with open(os.path.join(folder, "record.json"), "rb") as file:
                found.append(unpack_json(file.read(), BuildRecord))
        except (OSError, msgspec.MsgspecError):
            continue
    return sorted(found, key=lambda record: record.started, reverse=True)


def unfinished(root: str, most: int) -> dict[str, Unfinished]:
    """Keys of steps that ran in one of the latest builds and gave nothing; of each the last time."""
    from trimaran.misses import Unfinished

    folder = os.path.join(root, "builds")
    found: dict[str, Unfinished] = {}
    for record in _read(path for _, path in build_logs.by_age(folder, time.time())[:most]):
        for step in record.steps:
            if step.key and step.error and not step.error.endswith(NOT_CACHED):
                how: Literal["failed", "canceled"] = "canceled" if step.error == CANCELED else "failed"
                found.setdefault(step.key, Unfinished(how, step.completed))
    return found


def asked_for(records: Iterable[BuildRecord]) -> list[BuildRecord]:
    """Those that somebody wanted the result of: what `^N` counts."""
    return [record for record in records if not record.verification]


def choose(records: list[BuildRecord], text: str) -> BuildRecord:
    """`records` are newest first. NotFound names what there is."""
    counted = asked_for(records)
    if not counted and (not text or not records):
        raise NotFound("find build: none has finished on this store yet")
    if not text:
        return counted[0]
    if text.startswith("^") and text[1:].isdigit():
        if int(text[1:]) < len(counted):
            return counted[int(text[1:])]
    else:
        for record in records:
            if record.build_id.startswith(text.rpartition("/")[2]):
                return record
    raise NotFound(f"find build {text}: no such build", hint="`trimaran logs --list` names those there are")


def forget(folder: str, keep: HistorySettings) -> None:
    """Remove builds that are too old, and the oldest of those that are too many; never a running one."""
    now = time.time()
    for number, (changed, path) in enumerate(build_logs.by_age(folder, now)):
        if number >= keep.max_entries or now - changed > keep.max_age:
            build_logs.remove(path)
