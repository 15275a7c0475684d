"""Overlay, bind and tmpfs in a namespace of their own, as root and without."""

import os

import pytest

from trimaran.linux import mounts

pytestmark = pytest.mark.root

PRELUDE = """
import os, sys
from trimaran.linux.enter import enter
from trimaran.linux import mounts
enter({arguments})
folder = {folder!r}
os.chdir(folder)
for name in ("a", "b", "c", "upper", "work", "target"):
    os.mkdir(name)
for name in "abc":
    with open(name + "/same", "w") as file: file.write(name)
    with open(name + "/only-" + name, "w") as file: file.write(name)
full = lambda name: folder + "/" + name
read = lambda path: open(path).read()
"""


@pytest.fixture(params=["", "rootless=True", "fallback", "fallback rootless"])
def run(request, program, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    arguments = "rootless=True" if "rootless" in request.param else ""
    extra = "mounts.takes_lowers_one_by_one = lambda: False\n" if "fallback" in request.param else ""

    def call(text):
        result = program(PRELUDE.format(arguments=arguments, folder=str(tmp_path)) + extra + text)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return call


def test_overlay_topmost_first(run, tmp_path):
    out = run(
        """
with mounts.overlay([full("a"), full("b"), full("c")], full("upper"), full("work"), full("target")):
    print(read("target/same"), sorted(os.listdir("target")))
    os.unlink("target/same")
    open("target/new", "w").close()
print(os.listdir("target"), sorted(os.listdir("upper")))
"""
    )
    assert out == "a ['only-a', 'only-b', 'only-c', 'same']\n[] ['new', 'same']\n"
    assert (tmp_path / "a" / "same").read_text() == "a"


def test_overlay_readonly(run):
    out = run(
        """
for lowers in (["a"], ["a", "b"], ["a", "b", "c"]):
    with mounts.overlay([full(name) for name in lowers], None, None, full("target")):
        print(len(os.listdir("target")), end=" ")
        try:
            open("target/new", "w")
        except OSError as error:
            print(error.strerror)
"""
    )
    assert out == "2 Read-only file system\n3 Read-only file system\n4 Read-only file system\n"


def test_overlay_descriptors_and_odd_names(run):
    out = run(
        """
os.mkdir("x:y,z"); open("x:y,z/odd", "w").close()
os.mkdir("l" * 250); os.mkdir("l" * 250 + "/deep"); open("l" * 250 + "/deep/long", "w").close()
fd = os.open("a", os.O_PATH)
with mounts.overlay([fd, full("x:y,z"), full("l" * 250 + "/deep")], full("upper"), full("work"), full("target"), volatile=True):
    print(sorted(os.listdir("target")))
"""
    )
    assert out == "['long', 'odd', 'only-a', 'same']\n"


@pytest.mark.parametrize("count", [200])
def test_many_lowers(run, count):
    out = run(
        f"""
lowers = []
for number in range({count}):
    os.mkdir(str(number)); open(f"{{number}}/f{{number}}", "w").close()
    lowers.append(full(str(number)))
with mounts.overlay(lowers, full("upper"), full("work"), full("target")):
    print(len(os.listdir("target")))
"""
    )
    assert out == f"{count}\n"


def test_bind_readonly_is_recursive(run):
    out = run(
        """
mounts.attach_tmpfs(full("a"))
os.mkdir("a/sub")
mounts.attach_tmpfs(full("a/sub"))
with mounts.bind(full("a"), full("target"), readonly=True):
    for path in ("target/x", "target/sub/x"):
        try:
            open(path, "w"); print("written")
        except OSError as error:
            print(error.strerror)
open("a/x", "w")
"""
    )
    assert out == "Read-only file system\nRead-only file system\n"


def test_refusal_has_words_and_errno(run):
    out = run(
        """
try:
    with mounts.overlay([full("missing"), full("a")], full("upper"), full("work"), full("target")): pass
except mounts.MountFailed as error:
    print(error.errno, str(error).startswith("mount overlay at"))
"""
    )
    assert out == "2 True\n"


def test_without_lower():
    with pytest.raises(ValueError):
        mounts.attach_overlay([], None, None, "/x")
