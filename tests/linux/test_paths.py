"""Opening inside a root: the kernel's way and the walk give the same answers, and neither leads out."""

import os
import threading
import time

import pytest

from trimaran.linux import paths


@pytest.fixture(params=["openat2", "walk"])
def opener(request, monkeypatch):
    if request.param == "walk":
        monkeypatch.setattr(paths, "_openat2_works", False)
    elif not paths.openat2_works():
        pytest.skip("this kernel has no openat2")
    return request.param


@pytest.fixture
def root(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("host")
    inner = tmp_path / "root"
    (inner / "etc").mkdir(parents=True)
    (inner / "etc" / "name").write_text("inside")
    fd = os.open(inner, os.O_PATH | os.O_DIRECTORY)
    yield inner, fd
    os.close(fd)


def read(fd):
    with os.fdopen(fd, "rb") as file:
        return file.read().decode()


@pytest.mark.parametrize(
    "target", ["/etc/name", "etc/name", "../../../etc/name", "/../etc/./name", "../etc/../../etc/name"]
)
def test_symlink_stays_inside(opener, root, target):
    inner, fd = root
    (inner / "link").symlink_to(target)
    assert read(paths.open_in_root(fd, "link")) == "inside"


@pytest.mark.parametrize("target", ["/", "..", "../..", "/proc/self/root", "../outside"])
def test_folder_symlink_does_not_lead_out(opener, root, target):
    inner, fd = root
    (inner / "out").symlink_to(target)
    with pytest.raises(OSError):
        paths.open_in_root(fd, "out/outside/secret")
    with pytest.raises(OSError):
        paths.open_in_root(fd, "out/secret")


def test_absolute_host_path_is_not_reached(opener, root, tmp_path):
    inner, fd = root
    (inner / "link").symlink_to(tmp_path / "outside" / "secret")
    with pytest.raises(FileNotFoundError):
        paths.open_in_root(fd, "link")


def test_ring_of_symlinks(opener, root):
    inner, fd = root
    (inner / "a").symlink_to("b")
    (inner / "b").symlink_to("a")
    with pytest.raises(OSError, match="[Ss]ymbolic"):
        paths.open_in_root(fd, "a")


def test_magic_links_are_refused(opener):
    slash = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError):
            paths.open_in_root(slash, f"proc/self/fd/{slash}/etc/passwd")
    finally:
        os.close(slash)


def test_create_and_trailing_parts(opener, root):
    inner, fd = root
    os.close(paths.open_in_root(fd, "/etc/new", os.O_WRONLY | os.O_CREAT, 0o640))
    assert (inner / "etc/new").stat().st_mode & 0o777 == 0o640 & ~os.umask(os.umask(0))
    with pytest.raises(NotADirectoryError):
        paths.open_in_root(fd, "etc/name/")
    os.close(paths.open_in_root(fd, "/", os.O_PATH))
    os.close(paths.open_in_root(fd, "..", os.O_PATH))


def test_dangling_symlink_is_created_inside(opener, root, tmp_path):
    inner, fd = root
    (inner / "link").symlink_to("/etc/target")
    os.close(paths.open_in_root(fd, "link", os.O_WRONLY | os.O_CREAT, 0o600))
    assert (inner / "etc" / "target").exists()


def test_beneath_follows_nothing(opener, root):
    inner, fd = root
    (inner / "folder").symlink_to("etc")
    (inner / "etc" / "link").symlink_to("name")
    assert read(paths.open_beneath(fd, "/etc/name")) == "inside"
    for path in ("folder/name", "etc/link", "../outside/secret", "etc/../../outside/secret"):
        with pytest.raises(OSError):
            paths.open_beneath(fd, path)
    with pytest.raises(OSError):
        paths.open_beneath(fd, "etc/link", os.O_PATH)


def test_make_folders(opener, root):
    inner, fd = root
    (inner / "var").symlink_to("/real/var")
    assert paths.make_folders(fd, "/a/b/c", 0o751) == ["a", "a/b", "a/b/c"]
    assert (inner / "a/b/c").stat().st_mode & 0o777 == 0o751
    assert paths.make_folders(fd, "a/b") == []
    paths.make_folders(fd, "/var/lib/x")
    assert (inner / "real/var/lib/x").is_dir()
    with pytest.raises(NotADirectoryError):
        paths.make_folders(fd, "etc/name/x")


def test_swapper_never_shows_the_host(opener, root, tmp_path):
    """A thread that swaps a folder for a symlink to the host while we open: inside or an error, never the host."""
    inner, fd = root
    (inner / "real").mkdir()
    (inner / "real" / "secret").write_text("inside")
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            for target in (None, tmp_path / "outside", "../outside"):
                (inner / "tmp").unlink(missing_ok=True)
                if target is None:
                    os.rename(inner / "real", inner / "moving")
                    os.rename(inner / "moving", inner / "real")
                (inner / "tmp").symlink_to(target or "real")
                os.rename(inner / "tmp", inner / "folder")

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        end = time.monotonic() + 10
        tries = 0
        while tries < 3000 or (not seen and time.monotonic() < end):
            tries += 1
            try:
                seen.add(read(paths.open_in_root(fd, "folder/secret")))
            except OSError:
                continue
    finally:
        stop.set()
        thread.join()
    assert seen <= {"inside"}
    assert seen
