"""The ladder of docs/environments.md: each place made with real parts, and what a build does in it."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path

import pytest
from stage import reading, restricted
from stage.faulty import layers_of
from stage.namespaces import mount_namespace
from stage.places import Container, container

pytestmark = pytest.mark.root

PAGE = Path(__file__).parents[2] / "docs/environments.md"
ALL_BUT_RUN = """FROM alpine AS made
COPY --chown=33:44 file /made/
FROM alpine
COPY --from=made --chown=daemon /made/file /bin/busybox /copied/
COPY --from=made /made/file /etc/shadow /kept/
USER daemon
WORKDIR /home/of/daemon
"""
PLACES = {
    "container, store on overlayfs": {},
    "container, store on a volume": {"volume": True},
    "pod": {"root": False},
    "pod with user namespaces": {"root": False, "seccomp_profile": False},
}


@pytest.fixture
def place(program, context, registry):
    """Start the named place; its mirror is the test registry unless another is given."""
    with contextlib.ExitStack() as stack:

        def start(name: str, mirror: str = "") -> Container:
            context.write("file", "content\n")
            return stack.enter_context(container(program, context.folder, mirror=mirror or registry, **PLACES[name]))

        yield start


@pytest.mark.parametrize(
    ("name", "row", "sandbox"),
    [
        ("container, store on overlayfs", "root of a container", "chroot"),
        ("container, store on a volume", "root of a container", "chroot"),
        ("pod", "a place without rights", ""),
        ("pod with user namespaces", "a container that allows user namespaces", "no-process-sandbox"),
    ],
)
def test_everything_but_run(place, context, bases, tmp_path, name, row, sandbox):
    """Stages, owners, push and inspect; the doctor names the row and what RUN would take."""
    context.dockerfile(ALL_BUT_RUN)
    here = place(name)
    reference = f"{bases}/places/{len(name)}-{sandbox or 'none'}:1"
    said = here.trimaran("build", "--push", "-t", reference, "/context")
    assert said.returncode == 0, said.stderr
    assert reference.rsplit("/", maxsplit=1)[-1].partition(":")[0] in here.trimaran("images").stdout
    assert json.loads(here.trimaran("imagetools", "inspect", "--raw", reference).stdout)["layers"]
    rootfs = reading.unpack(f"docker://{reference}", tmp_path / "image")
    assert reading.facts(rootfs, "copied/file", "kept/file", "kept/shadow", "home/of/daemon") == {
        "copied/file": ("-rw-r--r--", 1, 1, "content\n"),
        "kept/file": ("-rw-r--r--", 33, 44, "content\n"),
        "kept/shadow": ("-rw-r-----", 0, 0, (rootfs / "etc/shadow").read_text()),
        "home/of/daemon": ("drwxr-xr-x", 1, 1, ""),
    }
    found = here.finding("place")
    assert found["status"] == "fail"
    assert found["detail"].startswith(row)
    assert found["command"] == (f"export TRIMARAN_SANDBOX={sandbox}" if sandbox else "")
    hidden = re.sub(r"/proc/\w+ is hidden", "/proc/acpi is hidden", found["detail"])  # which one depends on the machine
    assert f"\n{hidden}\n{found['command']}" in PAGE.read_text()
    assert re.search(rf"sandbox: +{sandbox or 'none'}", here.trimaran("inspect").stdout)


@pytest.mark.parametrize(
    ("name", "sandbox"),
    [
        ("container, store on overlayfs", "chroot"),
        ("pod", ""),
        ("pod with user namespaces", "no-process-sandbox"),
    ],
)
def test_run_is_refused_before_anything_is_pulled(place, context, faulty, name, sandbox):
    context.dockerfile(f"FROM {faulty.host}/alpine\nCOPY file /\nRUN true\n")
    here = place(name, faulty.host)
    said = here.trimaran("build", "/context")
    assert said.returncode == 1
    assert "RUN true" in said.stderr, "the line is shown"
    error, hint = said.stderr.splitlines()[-2:]
    assert error.startswith("ERROR: run a process: ")
    assert ("user namespace: Operation not permitted" if sandbox != "no-process-sandbox" else "/proc") in error
    assert f"set TRIMARAN_SANDBOX={sandbox}" in hint if sandbox else "builds without RUN work here" in hint
    assert not [layer for layer in layers_of(faulty) if faulty.seen("GET", layer)]
    weaker = here.trimaran("build", "/context", env={"TRIMARAN_SANDBOX": "one-user"})
    assert weaker.returncode == 1, "what was accepted is less than what it would take"
    assert here.trimaran("run", f"{faulty.host}/alpine", "true").returncode == 125


STEP = r"""FROM alpine
COPY file /etc/hosts
RUN cat /etc/hosts | head -1; test -s /etc/resolv.conf && echo resolver; echo lost > /dev/null; ls /proc | wc -l; \
    echo kept > /kept; chown 33:44 /kept; rm /etc/nsswitch.conf; (setsid sleep 321 &); (sleep 321 &)
USER daemon
WORKDIR /w
RUN id -u; pwd; touch mine; mkdir /root/x 2>/dev/null || echo refused
"""


def test_a_chroot_by_name(place, context, bases, tmp_path):
    """Root of a container: a step has devices and names, its layer has what it did, and each build says what held it."""
    context.dockerfile(STEP)
    here = place("container, store on overlayfs")
    reference = f"{bases}/places/chroot:1"
    accepted = {"TRIMARAN_SANDBOX": "chroot"}
    said = here.trimaran("build", "--progress=plain", "--push", "-t", reference, "/context", env=accepted)
    assert said.returncode == 0, said.stderr
    assert lines(said.stderr) == ["127.0.0.1\tlocalhost buildkitsandbox", "resolver", "0", "1", "/w", "refused"]
    assert "TRIMARAN_SANDBOX=chroot: each step runs in a folder" in said.stderr
    assert "steps run on copies of their files, since overlayfs is refused here" in said.stderr
    assert re.search(r"sandbox: +chroot:", here.trimaran("inspect", env=accepted).stdout)
    assert here.finding("place", env=accepted)["status"] == "warn"
    rootfs = reading.unpack(f"docker://{reference}", tmp_path / "image")
    assert not os.listdir(rootfs / "dev")
    assert not (rootfs / "etc/resolv.conf").exists()
    assert (rootfs / "etc/hosts").read_text() == "content\n"
    assert reading.facts(rootfs, "kept", "w/mine") == {
        "kept": ("-rw-r--r--", 33, 44, "kept\n"),
        "w/mine": ("-rw-r--r--", 1, 1, ""),
    }
    config = reading.config_of(f"docker://{reference}")
    assert len(config["rootfs"]["diff_ids"]) == 5
    assert layer_names(reference, 2) == ["etc", "etc/.wh.nsswitch.conf", "kept"], "and nothing of what it was lent"


def test_a_chroot_is_no_way_out(place, context, bases):
    """Each of these is refused; what the step may do all the same works (above)."""
    tries = {
        "another root": "chroot / true",
        "a device": "mknod /disk b 254 0",
        "a mount": "mount -t tmpfs none /mnt",
        "a namespace": "unshare -m true",
        "the engine": "kill -9 1",
        "proc": "mount -t proc proc /proc",
    }
    words = "; ".join(f"({command}) 2>/dev/null && echo got {name}" for name, command in tries.items())
    context.dockerfile(f"FROM alpine\nRUN {words}; grep -c . /etc/passwd; echo end\n")
    said = place("container, store on overlayfs").trimaran(
        "build", "--progress=plain", "/context", env={"TRIMARAN_SANDBOX": "chroot"}
    )
    assert said.returncode == 0, said.stderr
    assert [line for line in lines(said.stderr) if "got" in line] == []
    assert lines(said.stderr)[-1] == "end"


@pytest.mark.parametrize(
    ("instruction", "why"),
    [
        ("RUN --mount=type=cache,target=/c true", "RUN --mount needs a mount"),
        ("RUN --network=none true", "that --network=none needs"),
        ('RUN ["/nowhere"]', "No such file or directory"),
        ('RUN ["/etc/passwd"]', "Permission denied"),
        ("RUN exit 7", "exit code: 7"),
        ("RUN kill -9 $$", "exit code: 137"),
    ],
)
def test_what_a_chroot_cannot_do_is_an_error(place, context, bases, instruction, why):
    context.dockerfile(f"FROM alpine\n{instruction}\n")
    said = place("container, store on overlayfs").trimaran("build", "/context", env={"TRIMARAN_SANDBOX": "chroot"})
    assert said.returncode == 1 if "exit" in instruction or "mount" in instruction.lower() else said.returncode
    assert why in said.stderr


def test_a_killed_build_leaves_no_step_in_a_container(place, context, bases):
    context.dockerfile("FROM alpine\nRUN (setsid sleep 321 &); echo begun; sleep 321\n")
    here = place("container, store on overlayfs")
    script = (
        f"{here.program} build --progress=plain /context >/tmp/said 2>&1 & "
        'until grep -q "[0-9] begun" /tmp/said; do sleep 0.1; done; kill -9 $!; sleep 1; ps ax -o args | grep "^sleep 321"'
    )
    said = here.run("/bin/sh", "-c", script, env={"TRIMARAN_SANDBOX": "chroot"})
    assert (said.returncode, said.stdout) == (1, ""), said.stderr


def test_a_user_namespace_by_name(place, context, bases, tmp_path):
    """A pod whose /proc is masked: a container that shares the pod's processes, of which it may see names alone."""
    context.dockerfile(
        "FROM alpine\nRUN cat /proc/1/environ 2>/dev/null || echo secret; ls /proc/1/root/ 2>/dev/null || echo closed; "
        "(setsid sleep 321 &); echo kept > /kept; chown 33:44 /kept && echo pretended; stat -c %u /kept\n"
        "USER daemon\nRUN --mount=type=cache,target=/c touch /c/x && id -u\n"
    )
    here = place("pod with user namespaces")
    accepted = {"TRIMARAN_SANDBOX": "no-process-sandbox"}
    reference = f"{bases}/places/shared:1"
    said = here.trimaran("build", "--progress=plain", "--push", "-t", reference, "/context", env=accepted)
    assert said.returncode == 0, said.stderr
    assert lines(said.stderr) == ["secret", "closed", "pretended", "0", "0"]
    assert "TRIMARAN_SANDBOX=no-process-sandbox: each step runs in a container that sees" in said.stderr
    assert reading.config_of(f"docker://{reference}")["config"]["User"] == "daemon"


@pytest.fixture
def without_ids(rootless, tmp_path):
    """The account with nothing for it in /etc/subuid and /etc/subgid."""
    none = tmp_path / "subids"
    none.write_text("somebody:100000:65536\n")
    with mount_namespace() as inside:
        for name in ("subuid", "subgid"):
            inside.run("mount", "--bind", str(none), f"/etc/{name}")
        yield inside.inside(rootless)


def test_an_account_without_subordinate_ids(without_ids, bases, context, tmp_path):
    context.write("file", "content\n")
    context.dockerfile(ALL_BUT_RUN)
    reference = f"{bases}/places/no-ids:1"
    without_ids("build", "--push", "-t", reference, ".", cwd=context.folder)
    rootfs = reading.unpack(f"docker://{reference}", tmp_path / "image")
    assert reading.facts(rootfs, "copied/file")["copied/file"][1:3] == (1, 1)
    context.dockerfile("FROM alpine\nRUN id -u; chown 33 /etc/passwd 2>/dev/null || echo refused\n")
    said = without_ids("build", "--progress=plain", ".", cwd=context.folder).stderr
    assert lines(said) == ["0", "refused"], "files of root alone: a container as any, but for other users"
    assert "TRIMARAN_SANDBOX" not in said
    document = json.loads(without_ids("doctor", "--json", exit_code=None).stdout)
    place = next(each for each in document["findings"] if each["name"] == "place")
    assert (place["status"], place["command"]) == ("warn", "export TRIMARAN_SANDBOX=one-user")
    assert place["detail"].startswith("an account without subordinate ids: ")
    assert f"\n{place['detail']}\n{place['command']}\n" in PAGE.read_text()


def test_one_user_by_name(without_ids, bases, context, tmp_path):
    context.write("file", "content\n")
    context.dockerfile(
        "FROM alpine\nCOPY --chown=33:44 file /given\n"
        "RUN stat -c %u /given; echo made > /made; chown 33:44 /made && stat -c %u /made\nUSER daemon\nRUN id -u\n"
    )
    refused = without_ids("build", ".", cwd=context.folder, exit_code=1).stderr.splitlines()
    assert refused[-2] == (
        "ERROR: run a process: /given belongs to user 33 and group 44, and this account has no subordinate ids"
    )
    assert "TRIMARAN_SANDBOX=one-user" in refused[-1]
    reference = f"{bases}/places/one-user:1"
    said = without_ids(
        "build", "--progress=plain", "--push", "-t", reference, ".", cwd=context.folder,
        env={"TRIMARAN_SANDBOX": "one-user"},
    ).stderr  # fmt: skip
    assert lines(said) == ["0", "0", "0"]
    assert "TRIMARAN_SANDBOX=one-user: each step runs in a container in which all users are one" in said
    rootfs = reading.unpack(f"docker://{reference}", tmp_path / "image")
    found = reading.facts(rootfs, "given", "made")
    assert found["given"][1:3] == (33, 44), "what a step did not touch is as it was"
    assert found["made"][1:3] == (0, 0)
    assert "/given belongs to user 33" in without_ids("build", ".", cwd=context.folder, exit_code=1).stderr


@pytest.mark.parametrize("how", ["read-only", "missing"])
def test_no_control_group_can_be_made(trimaran, bases, context, how):
    """RUN works; devices cannot be filtered, so the right to make them goes; a limit that is asked for is no silence."""
    context.dockerfile(
        "FROM alpine\nRUN grep CapBnd /proc/self/status; mknod /disk b 254 0 2>/dev/null || echo refused\n"
    )
    with mount_namespace() as inside:
        if how == "missing":
            inside.run("mount", "-t", "tmpfs", "none", "/sys/fs/cgroup")
            inside.run("mount", "-o", "remount,ro", "/sys/fs/cgroup")
        else:
            for line in Path("/proc/self/mounts").read_text().splitlines():
                folder, kind = line.split()[1:3]
                if kind.startswith("cgroup"):
                    inside.run("mount", "-o", "bind,remount,ro", folder)
        command = inside.inside(trimaran)
        said = command("build", "--progress=plain", ".", cwd=context.folder).stderr
        assert not int(lines(said)[0].split()[1], 16) >> 27 & 1, "CAP_MKNOD"
        assert lines(said)[1] == "refused"


def test_a_context_of_another_system(trimaran, bases, context, tmp_path):
    """WSL 2's traits: no systemd and no XDG_RUNTIME_DIR, Windows' folders in PATH, a context whose file system has no
    extended attributes and one mode for all files."""
    text = "FROM alpine\nCOPY --chmod=755 . /app/\nRUN /app/run\n"
    with mount_namespace() as inside:
        inside.run("mount", "-t", "ramfs", "-o", "mode=777", "none", str(context.folder))
        write = "printf '#!/bin/sh\\necho ran\\n' >run; printf '%s' \"$1\" >Dockerfile; chmod 777 *; ln -s run link"
        inside.run("sh", "-c", f"cd {context.folder} && {write}", "sh", text)
        command = inside.inside(trimaran)
        command.environment["PATH"] += ":/mnt/c/Windows/System32:/mnt/c/Program Files"
        del command.environment["XDG_RUNTIME_DIR"]
        said = command("build", "--progress=plain", str(context.folder)).stderr
        assert lines(said) == ["ran"]
        assert "CACHED" in command("build", "--progress=plain", str(context.folder)).stderr


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"TRIMARAN_SANDBOX": "jail"}, ['unknown sandbox "jail"', "known: container, one-user"]),
        ({"TRIMARAN_ROOT": ""}, ["Read-only file system", "TRIMARAN_ROOT"]),
        ({"TRIMARAN_ROOT": "/nowhere"}, ["/nowhere", "TRIMARAN_ROOT"]),
        ({"TRIMARAN_CONFIG": "/scratch/none.toml"}, ["/scratch/none.toml: no such file", "TRIMARAN_CONFIG"]),
    ],
)
def test_a_pod_set_up_wrongly_is_told_in_one_line(place, context, bases, env, words):
    context.dockerfile("FROM alpine\nRUN true\n")
    said = place("pod").trimaran("build", "/context", env=env)
    assert said.returncode == 1
    end = "\n".join(said.stderr.splitlines()[-2:])
    assert all(word in end for word in words), said.stderr
    assert "Traceback" not in said.stderr


def test_a_full_scratch_folder_loses_nothing(place, context, bases):
    here = place("pod")
    context.dockerfile("FROM alpine\nCOPY file /\n")
    assert here.trimaran("build", "-t", "kept", "/context").returncode == 0
    (context / "large").write_bytes(os.urandom(8 << 20))
    context.dockerfile("FROM alpine\nCOPY file large /\n")
    here.fill()
    said = here.trimaran("build", "-t", "other", "/context")
    assert said.returncode == 1
    assert "no space left on device" in said.stderr.lower()
    assert "Traceback" not in said.stderr
    here.empty()
    assert here.trimaran("build", "-t", "other", "/context").returncode == 0
    assert {"kept", "other"} <= set(here.trimaran("images").stdout.split())


@pytest.mark.parametrize("runtime", ["crun", "runc", ""])
def test_user_namespaces_for_known_programs_only(rootless, bases, context, runtime):
    """Ubuntu 24.04: an interpreter is refused, a runtime of the distribution is not, and opens the way."""
    context.dockerfile(
        "FROM alpine\nRUN --mount=type=cache,target=/c id -u; chown daemon /etc/passwd; stat -c %U /etc/passwd\n"
        "USER daemon\nRUN id -u\n"
    )
    other = {"crun": "runc", "runc": "crun"}.get(runtime, "")
    with mount_namespace() as inside:
        inside.run("sh", "-c", "test -e /sys/fs/cgroup/cgroup.controllers || mount -t cgroup2 none /sys/fs/cgroup")
        if other:
            inside.run(
                "sh",
                "-c",
                f"for p in /usr/bin/{other} /usr/sbin/{other}; do ! test -e $p || mount --bind /dev/null $p; done",
            )
        command = inside.inside(rootless)
        words = [*command.command, "build", "--progress=plain", "-t", "made", str(context.folder)]
        secret = {"A_TOKEN": "not to be on a disk"}
        names = [runtime] if runtime else []
        said = restricted.run(words, names, env=command.environment | secret, cwd="/")
        words = [*command.command, "doctor", "--json"]
        document = json.loads(restricted.run(words, names, env=command.environment, cwd="/").stdout)
        found = {each["name"]: each["status"] for each in document["findings"]}
        assert found["place"] == found["user namespaces"] == ("ok" if runtime else "fail")
    if not runtime:
        assert said.returncode == 1
        assert "user namespace: Operation not permitted" in said.stderr
        return
    assert said.returncode == 0, said.stderr
    assert lines(said.stderr) == ["0", "daemon", "1"]
    assert "TRIMARAN_SANDBOX" not in said.stderr, "it is a container as any other"
    left = rootless.home / "run" / f"trimaran-{os.stat(rootless.home).st_uid}"
    assert {path.name for path in left.iterdir()} <= {"root", "state"}, "no bundle is left, nor our environment in it"
    assert "made" in rootless("images").stdout, "one store, whichever way it was entered"


def lines(said: str) -> list[str]:
    return [match[1] for match in re.finditer(r"^#\d+ \d+\.\d+ (.*)$", said, re.MULTILINE)]


def layer_names(reference: str, number: int) -> list[str]:
    """Names in a layer of an image in a registry, "./" and trailing slashes taken off."""
    import io
    import tarfile
    import urllib.request

    host, _, rest = reference.partition("/")
    repository = rest.rpartition(":")[0]
    digest = reading.index_of(reference)["layers"][number]["digest"]
    with urllib.request.urlopen(f"http://{host}/v2/{repository}/blobs/{digest}") as answer:
        archive = tarfile.open(fileobj=io.BytesIO(answer.read()))
    return sorted(name.strip("/") for name in archive.getnames())
