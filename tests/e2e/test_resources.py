"""What a build may take: the disk limit, memory and processors of its steps, how many run at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from stage.answers import Answers
from stage.contexts import Context
from stage.namespaces import mount_namespace
from stage.watching import Screen, until

from trimaran.linux import cgroups

MIB = 1 << 20


def st_blocks(folder):
    """On disk, each inode once."""
    return sum({(found := path.lstat()).st_ino: found.st_blocks * 512 for path in folder.rglob("*")}.values())


def test_the_cache_limit_holds_and_says_why_it_cannot(either, bases, context):
    noise = "FROM alpine\nARG N\nRUN head -c 10000000 /dev/urandom > /noise && echo $N\n"
    context.dockerfile(noise)
    for number in range(5):
        either("build", "--cache-limit=40mb", "--build-arg", f"N={number}", "-o", "type=cacheonly", ".",
               cwd=context.folder)  # fmt: skip
        assert st_blocks(either.root) < 41 * MIB
    again = either("build", "--progress=plain", "--build-arg", "N=4", "-o", "type=cacheonly", ".", cwd=context.folder)
    assert "CACHED" in again.stderr, "what was used last is still there"
    again = either("build", "--progress=plain", "--build-arg", "N=0", "-o", "type=cacheonly", ".", cwd=context.folder)
    assert re.search(r"not cached: evicted .{1,30} ago by the 41.94MB limit$", again.stderr, re.M)
    context.dockerfile("FROM alpine\nRUN head -c 90000000 /dev/urandom > /noise && sleep 3\n")
    said = either("build", "--cache-limit=40mb", "-o", "type=cacheonly", ".", cwd=context.folder, exit_code=1).stderr
    assert re.search(r"run the build: the cache limit of [\d.]+[kMG]B is reached: running builds and the store", said)
    assert "--cache-limit" in said
    context.dockerfile("FROM alpine\nRUN echo works >/it\n")
    either("build", "--cache-limit=40mb", "-o", "type=cacheonly", ".", cwd=context.folder)
    assert st_blocks(either.root) < 41 * MIB


def test_a_limit_of_the_settings_is_as_hard(trimaran, bases, context):
    trimaran.settings.write_text(f'cache-limit = "40MB"\n{trimaran.settings.read_text()}')
    context.dockerfile("FROM alpine\nRUN head -c 90000000 /dev/urandom > /noise && sleep 3\n")
    said = trimaran("build", "-o", "type=cacheonly", ".", cwd=context.folder, exit_code=1).stderr
    assert "run the build: the cache limit of 41.94MB is reached" in said
    assert st_blocks(trimaran.root) < 41 * MIB


def test_what_a_running_build_needs_is_never_taken_for_another(trimaran, bases, context):
    """A build under a limit would have room if the other one's layer went: it gives up, and that one goes on."""
    with Answers(held=1).serving() as answers:
        made = "FROM alpine\nRUN head -c 25000000 /dev/urandom > /mine\n"
        context.dockerfile(f"{made}RUN wget -q -O /said {answers.url}/step && wc -c < /mine > /size\nCMD cat /size\n")
        running = trimaran.start("build", "-t", "app", ".", cwd=context.folder)
        until(lambda: answers.asked, "the second step runs")
        other = Context(context.folder.parent / "other")
        other.dockerfile("FROM alpine\nRUN head -c 25000000 /dev/urandom > /other && sleep 3\n")
        words = ("build", "--cache-limit=40mb", "-o", "type=cacheonly", ".")
        said = trimaran(*words, cwd=other.folder, exit_code=1).stderr
        assert "the cache limit of 41.94MB is reached: running builds" in said
        answers.go.set()
        assert running.wait(60) == 0, running.communicate()
    assert trimaran("run", "app").stdout == "25000000\n"
    trimaran(*words, cwd=other.dockerfile(made).folder)
    trimaran("rmi", "app")
    other.dockerfile("FROM alpine\nRUN head -c 25000000 /dev/urandom > /other && sleep 1\n")
    trimaran(*words, cwd=other.folder)


EATER = "FROM alpine\nRUN dd if=/dev/zero of=/dev/null bs=200M count=1\nRUN echo never\n"


def test_a_step_over_its_memory_is_told_apart(trimaran, bases, context):
    context.dockerfile(EATER)
    said = trimaran("build", "--memory=64m", "--resource=memory-swap=64m", ".", cwd=context.folder, exit_code=1).stderr
    assert re.search(r"killed for lack of memory, it used 6\d MB at its peak, of 67 MB allowed", said), said
    assert "--memory" in said
    trimaran("build", "--memory=512m", "--cpus=1.5", "--resource=cpuset-cpus=0", ".", cwd=context.folder)
    context.dockerfile("FROM alpine\nRUN dd if=/dev/zero bs=200M count=1 | wc -c > /size\n")
    said = trimaran("build", "--memory=64m", "--resource=memory-swap=64m", ".", cwd=context.folder).stderr
    assert re.search(r"WARN: a process of the step was killed for lack of memory, it used 6\d MB .* went on", said), (
        said
    )


def test_limits_reach_the_step(trimaran, bases, context):
    show = "cat /proc/self/cgroup; grep Cpus_allowed_list /proc/self/status; echo end"
    context.dockerfile(f"FROM alpine\nRUN {show}\n")
    said = trimaran("build", "--progress=plain", "--resource=memory=100m,cpuset-cpus=0", "--cpus=0.5", ".",
                    cwd=context.folder).stderr  # fmt: skip
    assert re.search(r"Cpus_allowed_list:\s+0$", said, re.M)
    assert "/trimaran" in said


@pytest.mark.parametrize("share", ["--cpus=0.1", "--resource=cpu-quota=10000", "--build-resource=cpus=0.1"])
def test_a_step_gets_the_processor_time_it_may_have(trimaran, bases, context, share):
    """What it used in a second of trying, by the kernel's count."""
    context.dockerfile("FROM alpine\nRUN timeout 1 sh -c 'while :; do :; done'; times\n")

    def used(*words):
        said = trimaran("build", "--progress=plain", "--no-cache", *words, ".", cwd=context.folder).stderr
        *_, (user, system) = re.findall(r"^#\d+ [\d.]+ 0m([\d.]+)s 0m([\d.]+)s$", said, re.M)
        return float(user) + float(system)

    assert used(share) < 0.35 < used()


HOLDING = """FROM alpine AS s{n}
RUN set -o pipefail; dd if=/dev/zero bs=70M count=1 | (sleep 1; cat >/dev/null) && echo {n} >/n
"""
TOGETHER = "".join(HOLDING.format(n=n) for n in range(2)) + "FROM scratch\nCOPY --from=s0 /n /0\nCOPY --from=s1 /n /1\n"


def test_the_steps_of_a_build_have_a_limit_together(trimaran, bases, context):
    """Each of the two has room enough, both at once have not."""
    context.dockerfile(TOGETHER)
    words = ("--no-cache", "--build-resource=memory=96m,memory-swap=96m,cpus=1.5", "-o", "type=cacheonly", ".")
    trimaran("build", "--jobs=1", "--memory=90m", "--cpus=2", *words, cwd=context.folder)
    said = trimaran("build", "--jobs=2", *words, cwd=context.folder, exit_code=1).stderr
    used = r"killed for lack of memory, it used \d+ MB at its peak; the steps of this build used (9\d|10[01]) MB at its"
    assert re.search(rf"{used} peak, of 101 MB allowed", said), said
    assert "--build-resource" in said


def limiting():
    """The folders that groups of limited steps are in, on this machine's hierarchies."""
    found = cgroups.own_path("memory")
    v1 = [f"/sys/fs/cgroup/{found[0]}{found[1].rstrip('/')}/trimaran"] if found and found[0] else []
    return [Path(path) for path in (f"{cgroups.hierarchy()}/trimaran", *v1)]


def groups():
    return {path for folder in limiting() for path in folder.glob("trimaran-*/**/") if path != folder}


def test_nothing_is_left_of_groups(trimaran, bases, context):
    """Not by a build that ends, and by the next one, whatever it is, of one that was killed."""
    context.dockerfile("FROM alpine\nRUN echo begun && sleep 30\n")
    before = groups()
    words = ("--progress=plain", "--memory=100m", "--build-resource=memory=200m")
    process = trimaran.start("build", *words, ".", cwd=context.folder)
    Screen(process).until("begun$")
    # The build's group and the step's in it, of each engine that limits steps meanwhile.
    mine = groups() - before
    assert any("trimaran-build-" in str(path.parent) for path in mine)
    process.kill()
    process.wait()
    context.dockerfile("FROM alpine\nRUN true\n")

    def swept():
        trimaran("build", ".", cwd=context.folder)
        return not any(path.exists() for path in mine)

    until(swept, "the kernel has ended the step, and a build has swept what was left")
    trimaran("build", "--no-cache", *words, ".", cwd=context.folder)
    for folder in limiting():
        until(lambda folder=folder: not folder.exists() or any(folder.glob("*/")), f"{folder} is in use or gone")


def test_where_no_group_can_be_made_there_is_one_notice(rootless, bases, context):
    context.dockerfile("FROM alpine\nRUN echo one\nRUN echo two\nRUN echo three\n")
    with mount_namespace() as inside:
        inside.run("mount", "--bind", "-o", "ro", "/sys/fs/cgroup", "/sys/fs/cgroup")
        command = inside.inside(rootless)
        limits = ("--memory=100m", "--build-resource=memory=200m")
        said = command("build", "--progress=plain", *limits, ".", cwd=context.folder).stderr
    inline = re.findall(r"^#\d+ .*the build and its steps run without limits: ", said, re.M)
    assert len(inline) <= 1 <= said.count("run without limits: ") <= 2, said


def test_jobs_are_how_many_steps_run_at_once(trimaran, bases, context):
    stages = "".join(
        f"FROM alpine AS s{n}\nRUN cat /proc/uptime; sleep 0.4; echo {n} >/n; cat /proc/uptime\n" for n in range(3)
    )
    copies = "".join(f"COPY --from=s{n} /n /{n}\n" for n in range(3))
    context.dockerfile(f"{stages}FROM scratch\n{copies}")

    def most(*words: str) -> int:
        said = trimaran("build", "--progress=plain", "--no-cache", *words, ".", cwd=context.folder).stderr
        steps: dict[str, list[float]] = {}
        for step, at in re.findall(r"^#(\d+) \d+\.\d+ (\d+\.\d+) \d+\.\d+$", said, re.M):
            steps.setdefault(step, []).append(float(at))
        assert len(steps) == 3
        return max(sum(begin <= other[0] < end for other in steps.values()) for begin, end in steps.values())

    assert most("--jobs=1") == 1
    assert most("--jobs=3") > 1


def test_what_is_no_limit_is_refused(trimaran, context):
    context.dockerfile("FROM scratch\n")
    for words, told in (
        (("--memory=lots",), "read --memory lots: invalid size"),
        (("--memory=64",), "64m are megabytes"),
        (("--memory=0",), "read --memory 0: "),
        (("--cpus=none",), "read --cpus none: "),
        (("--cpus=0",), "read --cpus 0: "),
        (("--cpu-quota=x",), "read --cpu-quota x: it is a whole number"),
        (("--resource=memory=1m",), "read --resource memory=1m: "),
        (("--build-resource=memory=64",), "read --build-resource memory=64: "),
        (("--jobs=0",), "--jobs"),
        (("--resource=colour=red",), "known"),
        (("--build-resource=colour=red",), "known"),
        (("--build-resource=memory=lots",), "read --build-resource memory=lots: "),
        (("--resource=cpuset-cpus=0;1",), "cpuset-cpus"),
        (("--resource=cpu-period=5",), "read --resource cpu-period=5: it is microseconds, from 1000 to 1000000"),
        (("--memory=99999999p",), "out of range"),
        (("--resource=memory-swap=1g",), "memory-swap"),
        (("--cache-limit=-1",), "cache-limit"),
    ):
        assert told in trimaran("build", *words, ".", cwd=context.folder, exit_code=1).stderr
