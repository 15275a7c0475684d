"""What a step left as it was is in no layer, however stacks are shown; and whatever it did change is."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable

import pytest
from namespaces import in_mount_namespace

from trimaran.aio import Cancel
from trimaran.digest import Digest
from trimaran.store.entries import FIFO, FILE, FOLDER, HARDLINK, SYMLINK, WHITEOUT, Entry, EntryList
from trimaran.store.folder import Inline
from trimaran.store.rootfs import Rootfs
from trimaran.store.snapshots.unchanged import leave_out_unchanged

pytestmark = pytest.mark.root

T = 1_700_000_000_000_000_000
EXACT = T + 123_456_789


def base() -> tuple[EntryList, dict[str, Inline]]:
    files = {"d/a": b"one\n", "d/e/b": b"two\n", "d/empty": b"", "d/exact": b"three\n", "d/h/1": b"linked\n"}
    listed = [
        Entry(path, FILE, 0o644, 0, 0, EXACT if path == "d/exact" else T, len(data), digest=str(Digest.of(data)))
        for path, data in files.items()
    ]
    folders = [Entry(path, FOLDER, 0o755, mtime=T) for path in ("d", "d/e", "d/h", "d/none")]
    others = [
        Entry("d/s", SYMLINK, 0o777, mtime=T, target="a"),
        Entry("d/f", FIFO, 0o600, mtime=T),
        Entry("d/h/2", HARDLINK, target="d/h/1"),
    ]
    return EntryList.of([*listed, *folders, *others]), {path: Inline(data) for path, data in files.items()}


async def stack(store) -> Rootfs:
    above = EntryList.of([Entry("d", FOLDER, 0o755, mtime=T), Entry("d/y", FILE, 0o644, mtime=T, digest=EMPTY_FILE)])
    return Rootfs((await store.layers.add(*base()), await store.layers.add(above, {"d/y": Inline(b"")})))


EMPTY_FILE = str(Digest.of(b""))


def keeping_time(path: str, change: Callable[[str], object]) -> None:
    before = os.stat(path, follow_symlinks=False)
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns), follow_symlinks=False)


def rewrite(data: bytes) -> Callable[[str], object]:
    def write(path: str) -> None:
        with open(path, "r+b") as file:
            file.write(data)

    return write


def owned_again(root: str) -> None:
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            os.chown(os.path.join(folder, name), 0, 0, follow_symlinks=False)


def made_again(root: str) -> None:
    """As `mv` does where a rename is refused: copied with all its times, removed, copied back."""
    shutil.copytree(f"{root}/d/e", f"{root}/aside")
    shutil.rmtree(f"{root}/d/e")
    shutil.copytree(f"{root}/aside", f"{root}/d/e")
    shutil.rmtree(f"{root}/aside")
    os.utime(f"{root}/d", ns=(T, T))


def opened(root: str) -> None:
    os.close(os.open(f"{root}/d/a", os.O_RDWR))


def linked_away(root: str) -> None:
    os.link(f"{root}/d/a", f"{root}/d/other")
    os.unlink(f"{root}/d/other")
    os.utime(f"{root}/d", ns=(T, T))


def there_and_back(root: str) -> None:
    for path in (f"{root}/d/a", f"{root}/d/e"):
        os.chmod(path, 0o700)
        os.chown(path, 1, 1)
        os.chown(path, 0, 0)
        os.chmod(path, 0o755 if os.path.isdir(path) else 0o644)


SAME = {
    "the owner they have": owned_again,
    "the mode it has": lambda root: os.chmod(f"{root}/d/a", 0o644),
    "the time it has": lambda root: os.utime(f"{root}/d/exact", ns=(EXACT, EXACT)),
    "opened to be written": opened,
    "the content it has": lambda root: keeping_time(f"{root}/d/exact", rewrite(b"three\n")),
    "another name that is gone": linked_away,
    "a folder made again": made_again,
    "changed and changed back": there_and_back,
}


def test_what_stays_as_it_is_makes_no_layer(stacks):
    async def work(store):
        rootfs = await stack(store)
        for what, change in SAME.items():
            async with store.roots.mount(rootfs, writable=True) as mounted:
                change(mounted.path)
                assert await mounted.commit() is None, what

    stacks(work)


def renewed_link(path: str) -> None:
    os.unlink(path)
    os.symlink("b", path)


CHANGED = {
    "d/a": {
        "mode": lambda path: os.chmod(path, 0o600),
        "owner": lambda path: os.chown(path, 1, -1),
        "group": lambda path: os.chown(path, -1, 1),
        "a nanosecond": lambda path: os.utime(path, ns=(T, T + 1)),
        "content of the same size, its time kept": lambda path: keeping_time(path, rewrite(b"ONE")),
        "size, its time kept": lambda path: keeping_time(path, rewrite(b"one more\n")),
        "an attribute, its time kept": lambda path: keeping_time(path, lambda p: os.setxattr(p, "user.mark", b"1")),
    },
    "d/exact": {"content of the same size, its exact time kept": lambda path: keeping_time(path, rewrite(b"THREE"))},
    "d/s": {
        "target of the same length, its time kept": lambda path: keeping_time(path, renewed_link),
        "time of a symlink": lambda path: os.utime(path, ns=(T, T + 1), follow_symlinks=False),
    },
    "d/f": {"mode of a pipe": lambda path: os.chmod(path, 0o644)},
    "d/e": {"mode of a folder": lambda path: os.chmod(path, 0o700)},
}
CASES = [(path, what, change) for path, changes in CHANGED.items() for what, change in changes.items()]


def test_whatever_changes_is_in_the_layer(stacks):
    async def work(store):
        rootfs = await stack(store)
        for path, what, change in CASES:
            async with store.roots.mount(rootfs, writable=True) as mounted:
                owned_again(mounted.path)
                change(os.path.join(mounted.path, path))
                layer = await mounted.commit()
            assert [e.path for e in await store.layers.entries(layer) if e.path != "d"] == [path], what

    stacks(work)


def everything(root: str) -> set[str]:
    return {
        os.path.relpath(os.path.join(folder, name), root)
        for folder, folders, names in os.walk(root)
        for name in (*folders, *names)
    }


def test_the_folder_of_a_layer_holds_what_the_layer_lists(stacks):
    """So that on another stack nothing comes to light that the step only touched."""

    async def work(store):
        rootfs = await stack(store)
        async with store.roots.mount(rootfs, writable=True) as mounted:
            owned_again(mounted.path)
            os.link(f"{mounted.path}/d/h/1", f"{mounted.path}/d/h/0")
            os.unlink(f"{mounted.path}/d/e/b")
            os.utime(f"{mounted.path}/d/h", ns=(EXACT, EXACT))
            layer = await mounted.commit()
        entries = await store.layers.entries(layer)
        assert {e.path: e.kind for e in entries} == {
            "d": FOLDER,
            "d/e": FOLDER,
            "d/e/b": WHITEOUT,
            "d/h": FOLDER,
            "d/h/0": FILE,
        }
        assert everything(await store.layers.folder(layer)) == {e.path for e in entries}
        assert entries.get("d/h").mtime == EXACT
        async with store.roots.mount(Rootfs((layer,)), writable=True) as mounted:
            assert everything(mounted.path) == {"d", "d/e", "d/h", "d/h/0"}
        async with store.roots.mount(rootfs.on_top(layer), writable=False) as mounted:
            assert everything(mounted.path) == {e.path for e in base()[0]} - {"d/e/b"} | {"d/h/0", "d/y"}
            assert os.stat(f"{mounted.path}/d/h").st_mtime_ns == EXACT

    stacks(work)


def test_many_names_of_a_folder(stacks):
    """They are looked for another way where they are many."""
    files = {f"d/{number}": b"%d" % number for number in range(100)}
    listed = [
        Entry(path, FILE, 0o644, mtime=T, size=len(data), digest=str(Digest.of(data))) for path, data in files.items()
    ]

    async def work(store):
        many = await store.layers.add(EntryList.of(listed), {path: Inline(data) for path, data in files.items()})
        async with store.roots.mount(Rootfs((many, *(await stack(store)).layers)), writable=True) as mounted:
            owned_again(mounted.path)
            os.chmod(f"{mounted.path}/d/77", 0o600)
            with open(f"{mounted.path}/d/new", "w"):
                pass
            layer = await mounted.commit()
        assert [e.path for e in await store.layers.entries(layer)] == ["d", "d/77", "d/new"]

    stacks(work)


def test_an_account_that_is_held_to_modes(tmp_path):
    """It may not write into a folder of mode 0555 that is its own, nor read a file of mode 0."""
    os.chmod(tmp_path, 0o777)

    def inside() -> None:
        os.chdir(tmp_path)  # whose parents are closed to it
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        for name in ("lower", "upper"):
            os.makedirs(f"{name}/d/kept")
            for path, mode in (("d/same", 0o444), ("d/kept/secret", 0), ("d/kept/same", 0o444)):
                os.close(os.open(f"{name}/{path}", os.O_CREAT, 0o600))
                os.chmod(f"{name}/{path}", mode)
                os.utime(f"{name}/{path}", ns=(T, T))
            for path in ("d/kept", "d"):
                os.chmod(f"{name}/{path}", 0o555)
                os.utime(f"{name}/{path}", ns=(T, T))
        leave_out_unchanged(Cancel(), "upper", ["lower"], user_xattrs=False)

    in_mount_namespace(inside)
    assert everything(str(tmp_path / "upper")) == {"d", "d/kept", "d/kept/secret"}
    assert sorted(os.listdir(tmp_path)) == ["lower", "upper"]
    for path in ("d", "d/kept"):
        status = os.stat(tmp_path / "upper" / path)
        assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o555, T)
