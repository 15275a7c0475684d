"""Stacks shown by overlayfs and by copying: the same laws, in namespaces of their own."""

from __future__ import annotations

import os
import stat
import subprocess

import pytest

from trimaran.digest import Digest
from trimaran.errors import Corrupt, NotFound
from trimaran.store.entries import EMPTY, FILE, FOLDER, SYMLINK, WHITEOUT, Entry, EntryList
from trimaran.store.folder import Inline
from trimaran.store.rootfs import Rootfs

pytestmark = pytest.mark.root

T = 1_700_000_000_000_000_000


def entry(path: str, kind: str = FILE, mode: int = 0o644, **fields):
    return Entry(path, kind, mode, mtime=fields.pop("mtime", T), **fields)


def layer_of(files: dict[str, bytes], *others: Entry):
    entries = [entry(path, size=len(data), digest=str(Digest.of(data))) for path, data in files.items()]
    return EntryList.of([*entries, *others]), {path: Inline(data) for path, data in files.items()}


def write(root: str, path: str, data: bytes) -> None:
    with open(os.path.join(root, path), "wb") as file:
        file.write(data)


def read(root: str, path: str) -> bytes:
    with open(os.path.join(root, path), "rb") as file:
        return file.read()


async def base(store):
    entries, origins = layer_of(
        {"etc/passwd": b"root:x:0:0\n", "usr/bin/sh": b"#!", "d/x": b"1", "d/y/z": b"2"},
        entry("tmp", FOLDER, 0o1777),
        entry("etc", FOLDER, 0o755),
        entry("usr", FOLDER, 0o755),
        entry("usr/bin", FOLDER, 0o711, uid=3, gid=4),
        entry("d", FOLDER, 0o700),
        entry("d/y", FOLDER, 0o755),
        entry("bin", SYMLINK, 0o777, target="usr/bin"),
    )
    return await store.layers.add(entries, origins)


def test_the_trees_of_stacks_follow_what_lists_below_learn(stacks):
    async def work(store):
        lower = Rootfs((await base(store),))
        async with store.roots.mount(lower, writable=True) as mounted:
            write(mounted.path, "new", b"new")
            layer = await mounted.commit()
        middle = lower.on_top(layer)
        top = middle.on_top(await store.layers.add(*layer_of({"top": b"1"})))
        for each in (middle, top):
            assert (await store.roots.tree(each)).get("new").digest == ""
        await store.layers.digests(layer, ["new"])
        last = top.on_top(await store.layers.add(*layer_of({"last": b"2"})))
        for each in (last, middle, top):
            assert (await store.roots.tree(each)).get("new").digest == Digest.of(b"new")
        assert (await store.roots.tree(last)).get("top") is not None

    stacks(work)


def test_changes_become_a_layer(stacks):
    async def work(store):
        rootfs = Rootfs((await base(store),))
        async with store.roots.mount(rootfs, writable=True) as mounted:
            assert read(mounted.path, "bin/sh") == b"#!"
            write(mounted.path, "new", b"new")
            os.unlink(os.path.join(mounted.path, "d/x"))
            write(mounted.path, "etc/passwd", b"changed")
            layer = await mounted.commit()
        assert layer is not None
        entries = await store.layers.entries(layer)
        kinds = {e.path: e.kind for e in entries if e.kind != FOLDER}
        assert kinds == {"new": FILE, "d/x": WHITEOUT, "etc/passwd": FILE}
        above = rootfs.on_top(layer)
        tree = await store.roots.tree(above)
        assert tree.get("d/x") is None
        assert tree.get("d/y/z") is not None
        assert stat.S_IMODE(tree.get("d").mode) == 0o700
        assert await store.roots.read_file(above, "/etc/passwd") == b"changed"
        assert await store.roots.read_file(rootfs, "/etc/passwd") == b"root:x:0:0\n"
        async with store.roots.mount(above, writable=False) as mounted:
            assert not os.path.exists(os.path.join(mounted.path, "d/x"))
            assert read(mounted.path, "new") == b"new"
            assert read(mounted.path, "d/y/z") == b"2"
        await store.sync()

    stacks(work)


def test_nothing_changed_is_no_layer(stacks):
    async def work(store):
        rootfs = Rootfs((await base(store), await store.layers.add(EMPTY, {})))
        async with store.roots.mount(rootfs, writable=True) as mounted:
            read(mounted.path, "etc/passwd")
            assert await mounted.commit() is None
        async with store.roots.mount(rootfs, writable=True) as mounted:
            os.chmod(os.path.join(mounted.path, "etc"), 0o700)
            layer = await mounted.commit()
            assert {(e.path, e.mode) for e in await store.layers.entries(layer)} == {("etc", 0o700)}

    stacks(work)


def test_changes_that_are_not_committed_are_lost(stacks):
    async def work(store):
        rootfs = Rootfs((await base(store),))
        async with store.roots.mount(rootfs, writable=True) as mounted:
            write(mounted.path, "new", b"new")
        async with store.roots.mount(rootfs, writable=True) as mounted:
            assert not os.path.exists(os.path.join(mounted.path, "new"))
        temp = os.path.join(store.root, "temp")
        assert [os.listdir(os.path.join(temp, name)) for name in os.listdir(temp)] == [[]]

    stacks(work)


def test_a_folder_made_anew_hides_what_was_in_it(stacks):
    """Opaque folders become deletions, so the layer means the same on another stack."""

    async def work(store):
        rootfs = Rootfs((await base(store),))
        async with store.roots.mount(rootfs, writable=True) as mounted:
            d = os.path.join(mounted.path, "d")
            os.unlink(d + "/x")
            os.unlink(d + "/y/z")
            os.rmdir(d + "/y")
            os.rmdir(d)
            os.mkdir(d, 0o755)
            os.mkdir(d + "/y", 0o755)
            write(d, "y/other", b"o")
            layer = await mounted.commit()
        entries = await store.layers.entries(layer)
        assert entries.opaque == ()
        assert {e.path for e in entries if e.kind == WHITEOUT} == {"d/x", "d/y/z"}
        other, origins = layer_of({"d/kept": b"k", "d/x": b"hidden"}, entry("d", FOLDER, 0o755))
        rebased = Rootfs((await store.layers.add(other, origins), layer))
        async with store.roots.mount(rebased, writable=False) as mounted:
            assert sorted(os.listdir(os.path.join(mounted.path, "d"))) == ["kept", "y"]
            assert os.listdir(os.path.join(mounted.path, "d/y")) == ["other"]  # and no ghost of a whiteout

    stacks(work)


def test_types_flip(stacks):
    async def work(store):
        rootfs = Rootfs((await base(store),))
        async with store.roots.mount(rootfs, writable=True) as mounted:
            os.unlink(os.path.join(mounted.path, "d/x"))
            os.mkdir(os.path.join(mounted.path, "d/x"), 0o755)
            write(mounted.path, "d/x/inner", b"i")
            os.unlink(os.path.join(mounted.path, "d/y/z"))
            os.rmdir(os.path.join(mounted.path, "d/y"))
            write(mounted.path, "d/y", b"file now")
            layer = await mounted.commit()
        above = rootfs.on_top(layer)
        tree = await store.roots.tree(above)
        assert tree.children("d/x") == ["inner"]
        assert tree.get("d/y").kind == FILE
        async with store.roots.mount(above, writable=False) as mounted:
            assert read(mounted.path, "d/x/inner") == b"i"
            assert read(mounted.path, "d/y") == b"file now"

    stacks(work)


def test_parents_that_a_layer_does_not_list_keep_their_metadata(stacks):
    async def work(store):
        low = await base(store)
        copied, origins = layer_of({"usr/bin/tool": b"t", "tmp/file": b"f"})
        rootfs = Rootfs((low, await store.layers.add(copied, origins)))
        for writable in (False, True):
            async with store.roots.mount(rootfs, writable=writable) as mounted:
                status = os.stat(os.path.join(mounted.path, "usr/bin"))
                assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o711, 3, 4)
                assert status.st_mtime_ns == T
                assert stat.S_IMODE(os.stat(os.path.join(mounted.path, "tmp")).st_mode) == 0o1777
                assert stat.S_IMODE(os.stat(mounted.path).st_mode) == 0o755
                assert read(mounted.path, "usr/bin/tool") == b"t"
                if writable:
                    write(mounted.path, "usr/bin/more", b"m")
                    layer = await mounted.commit()
        above = rootfs.on_top(layer)
        async with store.roots.mount(above, writable=False) as mounted:
            status = os.stat(os.path.join(mounted.path, "usr/bin"))
            assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o711, 3, 4)
            assert sorted(os.listdir(os.path.join(mounted.path, "usr/bin"))) == ["more", "sh", "tool"]

    stacks(work)


def test_the_root_folder_itself_is_part_of_a_stack(stacks):
    async def work(store):
        entries, origins = layer_of({"a": b"1"}, entry("", FOLDER, 0o711))
        rootfs = Rootfs((await store.layers.add(entries, origins),))
        async with store.roots.mount(rootfs, writable=True) as mounted:
            assert stat.S_IMODE(os.stat(mounted.path).st_mode) == 0o711
            os.chmod(mounted.path, 0o755)
            layer = await mounted.commit()
        async with store.roots.mount(rootfs.on_top(layer), writable=False) as mounted:
            assert stat.S_IMODE(os.stat(mounted.path).st_mode) == 0o755
            assert read(mounted.path, "a") == b"1"

    stacks(work)


def test_scratch_can_be_mounted(stacks):
    async def work(store):
        assert Rootfs(()).id == ""
        async with store.roots.mount(Rootfs(()), writable=True) as mounted:
            assert os.listdir(mounted.path) == []
            write(mounted.path, "a", b"1")
            layer = await mounted.commit()
        assert [e.path for e in await store.layers.entries(layer)] == ["a"]
        assert await store.roots.read_file(Rootfs((layer,)), "a") == b"1"

    stacks(work)


def test_hard_links_owners_and_links_survive_a_commit(stacks):
    async def work(store):
        async with store.roots.mount(Rootfs(()), writable=True) as mounted:
            write(mounted.path, "a", b"1")
            os.link(mounted.path + "/a", mounted.path + "/b")
            os.chown(mounted.path + "/a", 1000, 1001)
            os.chmod(mounted.path + "/a", 0o4755)
            os.symlink("/etc/passwd", mounted.path + "/escape")
            os.mkfifo(mounted.path + "/fifo")
            layer = await mounted.commit()
        rootfs = Rootfs((layer,))
        listed = {e.path: e for e in await store.layers.entries(layer)}
        assert (listed["a"].uid, listed["a"].gid, listed["a"].mode) == (1000, 1001, 0o4755)
        assert (listed["b"].kind, listed["b"].target) == ("hardlink", "a")
        with pytest.raises(NotFound):  # never the machine's own file
            await store.roots.read_file(rootfs, "escape")
        with pytest.raises(NotFound):
            await store.roots.read_file(rootfs, "fifo")
        with pytest.raises(NotFound):
            await store.layers.read_file(layer, "escape")
        with pytest.raises(Corrupt):
            await store.roots.read_file(rootfs, "a", 0)
        async with store.roots.mount(rootfs, writable=True) as mounted:
            assert os.stat(mounted.path + "/a").st_mode & 0o7777 == 0o4755
            write(mounted.path, "b", b"22")
            second = await mounted.commit()
        changed = {e.path: e.kind for e in await store.layers.entries(second) if e.kind != FOLDER}
        assert changed.get("b") in (FILE, "hardlink")  # overlay gives the changed name a file of its own

    stacks(work)


def test_high_stacks_are_merged(stacks):
    async def work(store):
        layers = [await base(store)]
        gone = EntryList.of([Entry("d/x", WHITEOUT)])
        layers.append(await store.layers.add(gone, {}))
        for number in range(30):
            layers.append(await store.layers.add(*layer_of({f"many/{number}": b"%d" % number})))
        member = store.snapshots._chosen
        member.limit = 10
        async with store.roots.mount(Rootfs(tuple(layers)), writable=True) as mounted:
            assert len(os.listdir(mounted.path + "/many")) == 30
            assert os.listdir(mounted.path + "/d") == ["y"]
            assert os.stat(mounted.path + "/tmp").st_mode & 0o7777 == 0o1777
            write(mounted.path, "many/0", b"changed")
            layer = await mounted.commit()
        assert {e.path for e in await store.layers.entries(layer) if e.kind == FILE} == {"many/0"}
        assert await store.layers.read_file(layers[2], "many/0") == b"0"

    stacks(work)


def test_opaque_layers_hide(stacks):
    async def work(store):
        low = await base(store)
        entries, origins = layer_of({"d/y/new": b"n"}, entry("d", FOLDER, 0o755), entry("d/y", FOLDER, 0o755))
        hiding = EntryList.of(entries, ["d"])
        rootfs = Rootfs((low, await store.layers.add(hiding, origins)))
        tree = await store.roots.tree(rootfs)
        async with store.roots.mount(rootfs, writable=True) as mounted:
            assert os.listdir(mounted.path + "/d") == tree.children("d") == ["y"]
            assert os.listdir(mounted.path + "/d/y") == tree.children("d/y") == ["new"]
            os.unlink(mounted.path + "/d/y/new")
            os.rmdir(mounted.path + "/d/y")
            os.mkdir(mounted.path + "/d/y")
            layer = await mounted.commit()
        names = {e.path for e in await store.layers.entries(layer) if e.kind == WHITEOUT}
        assert names == {"d/y/new"}

    stacks(work)


def test_deletions_of_nothing_are_not_seen(stacks):
    """Pulled layers have such: overlayfs would list the whiteouts of a folder that no other layer has."""

    async def work(store):
        entries, origins = layer_of({"only/here": b"h"}, Entry("only/ghost", WHITEOUT), entry("only", FOLDER, 0o755))
        rootfs = Rootfs((await base(store), await store.layers.add(entries, origins)))
        async with store.roots.mount(rootfs, writable=False) as mounted:
            assert os.listdir(mounted.path + "/only") == ["here"]

    stacks(work)


def test_a_layer_that_comes_twice_is_shown_once(stacks):
    """Two equal steps give the same layer twice; overlayfs refuses a folder that comes twice."""

    async def work(store):
        lower = await store.layers.add(*layer_of({"f": b"lower", "gone": b"1"}, entry("d", FOLDER, 0o755)))
        upper = await store.layers.add(*layer_of({"f": b"upper"}, entry("gone", WHITEOUT, 0)))
        for stack, shown in (((lower, upper, lower), {"d", "f", "gone"}), ((upper, lower, upper), {"d", "f"})):
            rootfs = Rootfs(stack)
            tree = await store.roots.tree(rootfs)
            async with store.roots.mount(rootfs, writable=True) as mounted:
                assert set(os.listdir(mounted.path)) == shown == set(tree.children(""))
                with open(os.path.join(mounted.path, "f"), "rb") as file:
                    assert file.read() == (b"lower" if stack[-1] == lower else b"upper")

    stacks(work)


def test_a_new_mode_does_not_take_xattrs_away(stacks):
    """What an image's layer or a COPY of one gave a file stays with it when a step changes something else of it."""
    label = ("user.label", b"kept")

    async def work(store):
        entries, origins = layer_of(
            {"plain": b"p", "d/inner": b"i"},
            entry("d", FOLDER, 0o700, xattrs=(label,)),
            *[
                entry(n, size=1, digest=str(Digest.of(b"x")), xattrs=(label,))
                for n in ("mode", "bytes", "anew", "bare")
            ],
        )
        origins |= {name: Inline(b"x") for name in ("mode", "bytes", "anew", "bare")}
        rootfs = Rootfs((await store.layers.add(entries, origins),))
        async with store.roots.mount(rootfs, writable=True) as mounted:
            root = mounted.path
            os.chmod(f"{root}/mode", 0o600)
            write(root, "bytes", b"changed")
            os.unlink(f"{root}/anew")
            write(root, "anew", b"another file")
            os.removexattr(f"{root}/bare", "user.label")
            os.chmod(f"{root}/plain", 0o600)
            os.setxattr(f"{root}/plain", "user.own", b"of the step")
            write(root, "d/more", b"m")
            layer = await mounted.commit()
        listed = {each.path: each.xattrs for each in await store.layers.entries(layer) if each.path}
        expected = {"mode": (label,), "bytes": (label,), "d": (label,), "anew": (), "plain": (), "d/more": ()}
        assert {path: listed[path] for path in expected} == expected
        assert listed.get("bare", ()) == ()
        async with store.roots.mount(rootfs.on_top(layer), writable=False) as mounted:
            assert os.getxattr(f"{mounted.path}/mode", "user.label") == b"kept"
            assert os.getxattr(f"{mounted.path}/d", "user.label") == b"kept"

    stacks(work)


def test_a_store_that_lost_files_goes_on(stacks, tmp_path):
    """Its database, folders in it, or single layers: what is missing is made again, never written over."""
    root = tmp_path / "store"

    async def step(store):
        rootfs = Rootfs((await base(store),))
        async with store.roots.mount(rootfs, writable=True) as mounted:
            write(mounted.path, "new", b"1")
            layer = await mounted.commit()
        async with store.roots.mount(rootfs.on_top(layer), writable=False) as mounted:
            assert read(mounted.path, "new") == b"1"
        await store.sync()

    stacks(step)
    before = set(os.listdir(root / "snapshots"))
    assert before
    for lost in (["store.db"], ["snapshots", "blobs"], ["temp", "locks", "live"]):
        for name in lost:
            subprocess.run(["rm", "-rf", root / name], check=True)
        stacks(step)
        if lost == ["store.db"]:
            assert before < set(os.listdir(root / "snapshots")), "folders of the lost database are not written to"
