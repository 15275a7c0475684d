"""With which earlier record a step is compared: records in a real store, and one more step."""

from __future__ import annotations

import itertools

import pytest

from trimaran.digest import Digest
from trimaran.engine.earlier import Earlier
from trimaran.engine.file_lists import FileLists
from trimaran.graph.ops import ExecMeta, ExecOp
from trimaran.graph.vertex import Hints, Vertex
from trimaran.misses import FileChange
from trimaran.solver.protocols import Account, Aspect, CacheRecord, Eviction, KeyInput, ReadList
from trimaran.store import tombstones
from trimaran.store.entries import FILE, FOLDER, Entry, EntryList
from trimaran.store.pages import page_id, paged
from trimaran.store.store import open_store

LATER = 1000
BASE = "docker-image://docker.io/library/alpine:3@sha256:aa"
_numbers = itertools.count(1)


class World:
    """A store; `keep` records a step, `ask` says which record (by its note) one more step is compared with."""

    def __init__(self, store) -> None:
        self.store = store

    def record(
        self,
        words,
        op="",
        *,
        at="main/2",
        file="file linux/amd64",
        files=None,
        mode=0o644,
        below=BASE,
        kind="run",
        root="",
    ):
        name = f"[x 2/2] {words}"
        reads, lists, pages = [KeyInput("rootfs 0", root or below, 0)], (), ()
        if files is not None:
            listed = paged(EntryList.of(Entry(path, FILE, mode, digest=data) for path, data in files.items()))
            reads.append(KeyInput("copy 0: ", repr((files, mode)), 1))
            lists, pages = (ReadList(1, page_id(listed.top), len(files)),), listed.all
        key = Digest.of(repr((op or words, reads)).encode())
        account = Account(
            place=f"{file} {at}",
            aspects=(Aspect("instruction", "", kind), Aspect("command", "", op or words)),
            below=(below, "local://context"),
            lists=lists,
        )
        return CacheRecord(
            key=key,
            op=Digest.of((op or words).encode()),
            inputs=tuple(reads),
            results=(),
            description=name,
            created=next(_numbers),
            account=account,
        ), pages

    def keep(self, *words, **more) -> CacheRecord:
        record, pages = self.record(*words, **more)
        self.store.records.save(record, pages)
        return record

    def ask(self, *words, graph=(), scope="file", **more):
        self.store.database.write_now(lambda connection: None)
        now, pages = self.record(*words, **more)
        vertices = [
            Vertex(ExecOp(meta=ExecMeta(args=(text,)), mounts=()), hints=Hints(name=f"[x 1/2] {text}", place=place))
            for text, place in (*graph, (words[0], more.get("at", "main/2")))
        ]
        earlier = Earlier(self.store, scope, LATER)
        return earlier.find(now, FileLists(self.store, dict(pages)), vertices)


@pytest.fixture
def world(tmp_path):
    with open_store(str(tmp_path)) as store:
        yield World(store)


def test_an_edited_step_is_compared_with_what_stood_at_its_place(world):
    world.keep("RUN other", at="main/3")
    old = world.keep("RUN one")
    assert world.ask("RUN two").record == old


def test_a_step_put_in_between_is_no_edit_of_what_stood_there(world):
    world.keep("RUN one")
    assert world.ask("RUN new", graph=[("RUN one", "main/3")]).record is None


def test_another_instruction_is_no_edit(world):
    world.keep("RUN one", kind="run")
    assert world.ask("COPY . .", kind="copy").record is None


def test_a_step_that_moved_and_changed_in_what_it_does_not_say_is_found_by_its_words(world):
    old = world.keep("RUN make", "in /a", at="main/2")
    world.keep("RUN two", at="main/3")
    assert world.ask("RUN make", "in /b", at="main/3").record == old


def test_a_stage_that_was_named_or_moved_is_the_same_one(world):
    old = world.keep("RUN one", at="stage-0/2")
    assert world.ask("RUN two", at="final/2").record == old
    assert world.ask("RUN two", at="final/2", graph=[("RUN x", "stage-0/3")]).record is None, "that stage is there"
    assert world.ask("RUN two", at="final/2", graph=[("RUN one", "final/3")]).record is None, "that step is there"


def test_of_two_branches_the_nearest_is_compared_with(world):
    many = {f"f{number}": "a" for number in range(300)}
    main = world.keep("COPY . .", "copy", files=many)
    world.keep("COPY . .", "copy", files=dict.fromkeys(many, "b"))
    assert world.ask("COPY . .", "copy", files={**many, "f7": "c"}).record == main
    few = world.keep("COPY . /", "few", files={"a": "1", "b": "1", "c": "1"})
    world.keep("COPY . /", "few", files={"a": "2", "b": "2", "c": "1"})
    assert world.ask("COPY . /", "few", files={"a": "1", "b": "1", "c": "2"}).record == few


def test_another_project_is_not_compared_with(world):
    world.keep("COPY . .", "copy", files={"a": "1", "b": "1"}, file="other linux/amd64")
    world.keep("RUN make", at="main/3", file="other linux/amd64", below="[x 2/2] COPY . .")
    mine = {"a": "1", "x": "1", "y": "1"}
    assert world.ask("COPY . .", "copy", files=mine).record is None
    assert world.ask("RUN make", at="main/3", below="[x 2/2] COPY . .", root="2").record is None


def test_a_checkout_elsewhere_is_compared_with_the_one_before(world):
    files = dict.fromkeys("abcdef", "1")
    copy = world.keep("COPY . .", "copy", files=files, file="other linux/amd64")
    changed = {**files, "a": "2"}
    assert world.ask("COPY . .", "copy", files=changed).record == copy
    assert world.ask("COPY . .", "copy", files=files, mode=0o600).record == copy, "another umask"
    world.keep("RUN here", file="file linux/amd64")
    assert world.ask("COPY . .", "copy", files=changed, at="main/3").record is None, "this file was built here before"


def test_another_platform_is_another_step(world):
    world.keep("RUN one")
    assert world.ask("RUN one", "two", file="file linux/arm64").record is None


def test_what_was_evicted_is_known_by_its_tombstone(world):
    old = world.keep("RUN one")
    world.store.database.write_now(
        lambda connection: tombstones.bury(connection, [str(old.key)], Eviction(cause="prune"))
    )
    found = world.ask("RUN two")
    assert (found.record.key, found.stone.why.cause) == (old.key, "prune")


def test_files_of_a_folder_that_moved_are_compared_by_their_new_names(world):
    def listed(folder: str, data: str) -> tuple[CacheRecord, dict[bytes, bytes]]:
        entries = EntryList.of(
            [Entry(folder, FOLDER, 0o755), *(Entry(f"{folder}/{n}", FILE, 0o644, digest=data) for n in "ab")]
            + [Entry(f"{folder}/c", FILE, 0o644, digest="same")]
        )
        pages = paged(entries)
        account = Account(lists=(ReadList(0, page_id(pages.top), 3),))
        reads = (KeyInput(f"copy 0: {folder}", data, 0),)
        digest = Digest.of(data.encode())
        return CacheRecord(key=digest, op=digest, inputs=reads, results=(), account=account), dict(pages.all)

    (one, old), (two, new) = listed("src", "1"), listed("moved", "2")
    change = FileLists(world.store, {**old, **new}).changes(two, one)[0]
    assert change.changes == (FileChange("moved/a", "content"), FileChange("moved/b", "content"))
    assert change.besides == 0
