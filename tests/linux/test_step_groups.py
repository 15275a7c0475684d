"""Groups of steps and builds in the machine's real hierarchies: where they are, what is left of them."""

import fcntl
import os
import subprocess

import pytest

from trimaran.errors import Unsupported, UsageError
from trimaran.linux import cgroups, step_groups
from trimaran.linux.limits import Limits

pytestmark = pytest.mark.root
PARENT = f"builds-of-test-{os.getpid()}"
LIMITED = Limits(memory=64 << 20, memory_swap=0)


@pytest.fixture
def hierarchy():
    root = cgroups.hierarchy()
    if root is None:
        pytest.skip("needs cgroup v2")
    try:
        os.mkdir(f"{root}/{PARENT}")
    except OSError:
        pytest.skip("needs root")
    yield root
    cgroups.remove_tree(f"{root}/{PARENT}")


def inside(folders):
    """The groups that a process is in that entered these, by hierarchy."""
    enter = "".join(f"echo 0 >{folder}/cgroup.procs; " for folder in folders)
    shown = subprocess.run(["sh", "-c", f"{enter} cat /proc/self/cgroup"], check=True, capture_output=True, text=True)
    return [line.split(":")[2] for line in shown.stdout.splitlines()]


def test_a_step_is_in_the_group_of_its_build(hierarchy):
    with (
        step_groups.group("trimaran-build-1", LIMITED, parent=PARENT) as build,
        step_groups.group("trimaran-2", Limits(), parent=PARENT, within=build, filtered=True) as step,
    ):
        where = inside(step.folders)
        assert f"/{PARENT}/trimaran-build-1/trimaran-2" in where, "the group of v2"
        assert sum(path.endswith(f"/{PARENT}/trimaran-build-1/trimaran-2") for path in where) == len(step.folders)
        assert step.limits_memory(), "also of a step without limits of its own the peak is known"
        assert build.peak() is not None
        assert build.peak() >= step.peak() > 0
    assert os.path.isdir(f"{hierarchy}/{PARENT}"), "what somebody named is somebody's"
    assert not any(entry.is_dir() for entry in os.scandir(f"{hierarchy}/{PARENT}"))
    for folder in (*build.folders, *step.folders):
        assert not os.path.exists(folder)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(cpuset_cpus="4000"), "cpuset.cpus"),
        (Limits(cpuset_mems="63"), "cpuset.mems"),
        (Limits(cpu_quota=5, cpu_period=100_000), "cpu"),
    ],
)
def test_a_limit_that_the_kernel_does_not_take_is_refused_by_name(limits, told):
    try:
        with step_groups.group("trimaran-1", LIMITED):
            pass
    except Unsupported:
        pytest.skip("needs the memory controller")
    with (
        pytest.raises(UsageError, match=f"the kernel does not take .* as {told}"),
        step_groups.group("trimaran-2", limits),
    ):
        pass
    root = cgroups.hierarchy() or step_groups.own_group_v1("cpu")
    assert not os.path.exists(f"{root}/{cgroups.DEFAULT_PARENT}/trimaran-2")


def test_what_killed_engines_left_goes_and_what_lives_stays(hierarchy):
    left = f"{hierarchy}/{PARENT}/trimaran-build-left/trimaran-step"
    lives = f"{hierarchy}/{PARENT}/trimaran-build-lives"
    os.makedirs(left)
    os.mkdir(lives)
    fd = os.open(lives, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        with step_groups.group("trimaran-1", Limits(), parent=PARENT):
            names = {entry.name for entry in os.scandir(f"{hierarchy}/{PARENT}") if entry.is_dir()}
        assert names == {"trimaran-build-lives", "trimaran-1"}
    finally:
        os.close(fd)


def test_the_folder_of_ours_goes_with_the_last_group_in_it():
    try:
        with step_groups.group("trimaran-1", LIMITED) as first:
            with step_groups.group("trimaran-2", LIMITED):
                pass
            parent = os.path.dirname(first.folders[0])
            assert os.path.isdir(parent), "a group is in it still"
    except Unsupported:
        pytest.skip("needs the memory controller")
    assert not os.path.isdir(parent) or any(entry.is_dir() for entry in os.scandir(parent)), "but for other engines'"


def test_a_group_is_made_where_the_folder_is_just_removed(hierarchy, monkeypatch):
    """Another engine's last group ends between our making the folder and our group in it."""
    made = os.mkdir
    removed = []

    def mkdir(path, mode=0o777):
        if path.endswith("/trimaran-1") and not removed:
            removed.append(os.rmdir(os.path.dirname(path)))
        made(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with step_groups.group("trimaran-1", Limits(), parent=PARENT) as step:
        assert removed
        assert os.path.isdir(step.folders[0])


def test_the_share_of_a_step_is_at_most_its_builds():
    build = Limits(cpu_quota=150_000)
    assert Limits(cpu_quota=400_000, cpu_period=200_000).narrowed(build).cpu_quota == 300_000
    assert Limits(cpu_quota=100_000).narrowed(build).cpu_quota == 100_000
    assert Limits(memory=5).narrowed(build) == Limits(memory=5)
