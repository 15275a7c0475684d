"""Images that ship links where we and the runtimes mount things: the host stays untouched (T11 to T14)."""

import os

import pytest

from contracts.test_runtime import Box, make_rootfs

pytestmark = pytest.mark.root

TARGETS = {
    "absolute": str,
    "relative": lambda victim: f"../victim/{victim.name}",
    "climbing": lambda victim: f"../../../../../../../../../..{victim}",
    "parent": lambda victim: "../..",
}


@pytest.fixture(params=["crun", "runc", "crun-rootless"])
def box(request, shared):
    runtime, _, rootless = request.param.partition("-")
    return Box(shared, runtime, request.getfixturevalue("account") if rootless else None)


@pytest.fixture
def victim(shared):
    """A folder of the host with something of everything a mount point could hit."""
    folder = shared / "victim"
    folder.mkdir()
    folder.chmod(0o777)
    for name in ("hosts", "resolv.conf", "null"):
        (folder / name).write_text("host")
        (folder / name).chmod(0o666)
    (folder / "folder").mkdir()
    (folder / "folder").chmod(0o777)
    return folder


def tree(folder):
    found = {}
    for path in sorted(folder.rglob("*")):
        found[str(path.relative_to(folder))] = path.read_text() if path.is_file() else path.stat().st_mode
    return found


def attempt(box, victim, options="", roots=None):
    """Whatever the runtime makes of each image (start it or refuse it), the victim is as before."""
    before = tree(victim)
    outside = sorted(os.listdir(victim.parent))
    # One program tries them all: to start it costs more than a container.
    out = box(
        f"""
for rootfs in {[str(path) for path in roots or [box.rootfs]]!r}:
    try:
        print(show("echo started; cat /etc/hosts >/dev/null; exit 0"{options}))
    except TrimaranError as error:
        print("refused:", error)
    print("-- next")
"""
    )
    for each in out.split("-- next")[:-1]:
        assert "started" in each or "refused" in each
    assert out.count("-- next") == len(roots or [1])
    assert tree(victim) == before
    assert sorted(os.listdir(victim.parent)) == outside
    return out


def images(box, path, victim):
    """An image for each kind of link to the victim, which is where `path` of the image should be."""
    roots = []
    for kind, target in TARGETS.items():
        root = make_rootfs(box.rootfs.with_name(f"rootfs-{kind}"), box.owner)
        link = root / path
        if link.is_dir():
            link.rmdir()
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(target(victim))
        roots.append(root)
    return roots


@pytest.mark.parametrize("name", ["dev", "etc", "proc", "sys", "run", "tmp"])
def test_folder_is_a_link(box, victim, name):
    mount = ", mounts=(Mount(target='/run/secrets/x', source='/etc/hostname', readonly=True),)"
    attempt(box, victim, mount, images(box, name, victim / "folder"))


@pytest.mark.parametrize("name", ["dev", "etc", "proc", "sys"])
def test_folder_is_a_file(box, victim, name):
    (box.rootfs / name).touch()
    attempt(box, victim)


@pytest.mark.parametrize(
    ("path", "name"),
    [("etc/hosts", "hosts"), ("etc/resolv.conf", "resolv.conf"), ("dev/null", "null"), ("dev/console", "null")],
)
def test_file_is_a_link(box, victim, path, name):
    attempt(box, victim, roots=images(box, path, victim / name))


def test_dev_null_is_a_file(box, victim):
    """T12: masked paths must not be bound over with a file of the image."""
    (box.rootfs / "dev").mkdir()
    (box.rootfs / "dev" / "null").write_text("image")
    out = attempt(box, victim)
    assert "started" in out
    assert box("show('cat /proc/kcore; cat /dev/null; ls -l /dev/null')").startswith("crw")


def test_mount_target_through_a_link(box, victim):
    (box.rootfs / "data").symlink_to(victim)
    attempt(box, victim, ", mounts=(Mount(target='/data/new/deep', source='/etc/hostname', readonly=True),)")


def test_ordinary_link_works(box, victim):
    """Look-alike: Debian's /etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf and /var/run -> /run."""
    (box.rootfs / "etc").mkdir()
    (box.rootfs / "run").mkdir()
    (box.rootfs / "etc" / "resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    os.chown(box.rootfs / "run", *box.owner)
    os.chown(box.rootfs / "etc", *box.owner)
    assert "started" in attempt(box, victim)
