"""Mount points made for a step vanish; nothing else does, on the host least of all (T03)."""

import os

import pytest

from trimaran.executor import stubs
from trimaran.executor.spec import Mount


@pytest.fixture
def rootfs(tmp_path):
    path = tmp_path / "rootfs"
    path.mkdir()
    return path


def test_made_and_empty_vanish_with_their_parents(rootfs):
    os.utime(rootfs, ns=(1, 2))
    with stubs.vanishing(str(rootfs), ["/run/secrets/key", "/cache"]):
        for path in ("etc/resolv.conf", "etc/hosts", "run/secrets/key"):
            (rootfs / path).parent.mkdir(parents=True, exist_ok=True)
            (rootfs / path).touch()
        (rootfs / "cache").mkdir()
    assert list(rootfs.iterdir()) == []


def test_times_of_the_folder_are_put_back(rootfs):
    (rootfs / "etc").mkdir()
    os.utime(rootfs / "etc", ns=(10**18, 10**18))
    with stubs.vanishing(str(rootfs)):
        (rootfs / "etc" / "hosts").touch()
        os.utime(rootfs / "etc", ns=(10**18, 10**18))
    assert os.listdir(rootfs / "etc") == []
    assert (rootfs / "etc").stat().st_mtime_ns == 10**18


def test_what_was_there_or_got_content_stays(rootfs):
    (rootfs / "etc").mkdir()
    (rootfs / "etc" / "hosts").touch()
    (rootfs / "cache").mkdir()
    with stubs.vanishing(str(rootfs), ["/cache", "/data"]):
        (rootfs / "etc" / "resolv.conf").write_text("nameserver 1.1.1.1")
        (rootfs / "data").mkdir()
        (rootfs / "data" / "file").touch()
    assert sorted(os.listdir(rootfs / "etc")) == ["hosts", "resolv.conf"]
    assert (rootfs / "cache").is_dir()
    assert (rootfs / "data" / "file").exists()


def test_symlink_of_the_image_is_followed_inside(rootfs):
    """Look-alike: /etc/resolv.conf -> ../run/resolve/stub is what real images ship."""
    (rootfs / "etc").mkdir()
    (rootfs / "etc" / "resolv.conf").symlink_to("../run/resolve/stub")
    with stubs.vanishing(str(rootfs)):
        (rootfs / "run" / "resolve").mkdir(parents=True)
        (rootfs / "run" / "resolve" / "stub").touch()
    assert sorted(os.listdir(rootfs)) == ["etc"]
    assert os.readlink(rootfs / "etc" / "resolv.conf") == "../run/resolve/stub"


@pytest.mark.parametrize("relative", [False, True])
def test_parent_swapped_for_a_symlink_to_the_host(rootfs, tmp_path, relative):
    victim = tmp_path / "victim"
    (victim / "secrets").mkdir(parents=True)
    (victim / "hosts").touch()
    with stubs.vanishing(str(rootfs), ["/run/secrets"]):
        (rootfs / "etc").symlink_to("../victim" if relative else victim)
        (rootfs / "run").symlink_to("../victim" if relative else victim)
    assert sorted(os.listdir(victim)) == ["hosts", "secrets"]


def test_stub_itself_swapped_for_a_symlink(rootfs, tmp_path):
    victim = tmp_path / "victim"
    victim.touch()
    (rootfs / "etc").mkdir()
    with stubs.vanishing(str(rootfs)):
        (rootfs / "etc" / "hosts").symlink_to(victim)
    assert victim.exists()
    assert (rootfs / "etc" / "hosts").is_symlink()


def test_ring_is_nobodys_stub(rootfs):
    (rootfs / "etc").symlink_to("etc")
    with stubs.vanishing(str(rootfs)):
        pass
    assert (rootfs / "etc").is_symlink()


def test_after_an_error_too(rootfs):
    def fail():
        with stubs.vanishing(str(rootfs)):
            (rootfs / "etc").mkdir()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert os.listdir(rootfs) == []


def test_mount_points_are_made_inside_and_vanish(tmp_path):
    """What lies inside another mount, or cannot be made, is left to the runtime."""
    root, source = tmp_path / "root", tmp_path / "source"
    root.mkdir()
    source.mkdir()
    (tmp_path / "file").write_text("x")
    (root / "blocked").write_text("a file")
    wanted = [
        Mount(target="/a/folder", source=str(source)),
        Mount(target="/a/folder/inner", kind="tmpfs"),
        Mount(target="/b/file", source=str(tmp_path / "file")),
        Mount(target="/blocked/x", kind="tmpfs"),
        Mount(target="/t", kind="tmpfs"),
    ]
    with stubs.vanishing(str(root), [mount.target for mount in wanted]):
        stubs.make(str(root), wanted)
        assert (root / "a/folder").is_dir()
        assert not (root / "a/folder/inner").exists()
        assert (root / "b/file").is_file()
        assert (root / "b/file").stat().st_size == 0
        assert (root / "t").is_dir()
    assert sorted(path.name for path in root.iterdir()) == ["blocked"]


def test_mount_points_are_not_made_outside(tmp_path):
    """A symlink on the way is followed inside the rootfs only."""
    root, victim = tmp_path / "root", tmp_path / "victim"
    root.mkdir()
    victim.mkdir()
    (root / "out").symlink_to(victim)
    stubs.make(str(root), [Mount(target="/out/x", kind="tmpfs"), Mount(target="/../y", kind="tmpfs")])
    assert list(victim.iterdir()) == []
    assert not (tmp_path / "y").exists()
