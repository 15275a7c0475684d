"""What an image, a Dockerfile or a context must not be able to do to the machine; each with what must still work.

T… are the numbers that the project's list of threats has for them.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import hostile
from stage.contexts import Context, open_folder
from stage.hostile import folder, link, pipe, untouched
from stage.program import Trimaran
from stage.watching import until

from trimaran.testing.registry import SLOW, FaultyRegistry

CANARY = "a secret of this machine"
DOCKER_CAPABILITIES = 0xA80425FB
MKNOD = 1 << 27


@pytest.fixture
def victim() -> Iterator[Path]:
    """A folder of the machine that everybody may write to, with a secret that everybody may read."""
    with open_folder() as outer:
        path = outer / "victim"
        path.mkdir()
        path.chmod(0o777)
        (path / "canary").write_text(CANARY)
        yield path


def build(command: Trimaran, context: Context, text: str, *words: str, exit_code: int | None = 0) -> str:
    """What a build of that Dockerfile says; it may fail, but not by a bug, and never tells the canary."""
    context.dockerfile(text)
    done = command("build", "--progress=plain", *words, ".", cwd=context.folder, exit_code=exit_code)
    assert "Traceback" not in done.stderr
    assert CANARY not in done.stderr
    return done.stderr


def output_of(command: Trimaran, context: Context, text: str, *words: str) -> str:
    """What the image that the Dockerfile makes says."""
    build(command, context, text, "-t", "out", *words)
    return command("run", "out").stdout


# -- T01: a working folder that leads out ---------------------------------------------------------------------------


def test_working_folder_through_our_descriptors(either: Trimaran, bases: str, context: Context, victim: Path) -> None:
    steal = f"cat ../../../../../../../..{victim}/canary"
    build(either, context, "FROM alpine\nRUN ln -s /proc/self/fd/7 /out\n", "-t", "links")
    for number in range(3, 10):
        done = either("run", "-w", f"/proc/self/fd/{number}", "links", "sh", "-c", steal, exit_code=None)
        assert done.returncode != 0
        assert CANARY not in done.stdout + done.stderr
    for where in ("/proc/self/fd/8", "/out", "/proc/self/cwd/../../.."):
        build(either, context, f"FROM links\nWORKDIR {where}\nRUN {steal}\n", exit_code=1)


def test_no_descriptor_of_ours_is_inherited(either: Trimaran, bases: str, context: Context) -> None:
    said = output_of(either, context, "FROM alpine\nRUN ls /proc/self/fd > /fds\nCMD cat /fds\n")
    assert said.split() == ["0", "1", "2", "3"], "the last is of ls itself"


def test_working_folders_that_must_work(either: Trimaran, bases: str, context: Context) -> None:
    text = (
        "FROM alpine\nRUN mkdir -p /srv/real && ln -s srv/real /link\nWORKDIR /link/deep\nRUN touch here\nCMD pwd -P\n"
    )
    assert output_of(either, context, text) == "/srv/real/deep\n"


# -- T13, T12: system folders that are something else ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["dev", "etc", "proc", "sys", "run", "tmp"])
@pytest.mark.parametrize("how", ["absolute", "upwards"])
def test_system_folder_that_is_a_link_out(
    trimaran: Trimaran, faulty: FaultyRegistry, context: Context, victim: Path, name: str, how: str
) -> None:
    target = str(victim) if how == "absolute" else "../../../../../.." + str(victim)
    base = hostile.image(faulty, "hostile", link(name, target))
    check = untouched(victim)
    text = f"FROM {base}\nRUN cat /{name}/canary; echo x > /{name}/written; true\nRUN cat {victim}/canary; true\n"
    build(trimaran, context, text, exit_code=None)
    trimaran("run", base, "true", exit_code=None)
    check()


def test_system_folders_that_are_links_out_without_root(
    rootless: Trimaran, faulty: FaultyRegistry, context: Context, victim: Path
) -> None:
    """As above; also where the step's own files (its agent and secret, hosts, resolv.conf) would be put."""
    (victim / "canary").chmod(0o666)
    context.write("f", "given\n")
    check = untouched(victim)
    links = [link(name, str(victim)) for name in ("etc", "run", "var")]
    base = hostile.image(faulty, "hostile", *links)
    text = f"FROM {base}\nRUN --mount=type=secret,id=s --mount=type=tmpfs,target=/run/t --mount=type=cache,target=/var/c \\\n"
    text += (
        "  cat /run/secrets/s && ! grep -r secret /etc/ && echo x > /etc/written && touch /run/x /run/t/x /var/c/x\n"
    )
    said = build(
        rootless, context, text + f"RUN test -e {victim}/written && ! cat {victim}/canary\n", "--secret=id=s,src=f"
    )
    assert "given" in said
    for name in ("dev", "proc", "sys"):
        base = hostile.image(faulty, "hostile", link(name, "../../../.." + str(victim)))
        build(rootless, context, f"FROM {base}\nRUN true\n", exit_code=1)
    check()


@pytest.mark.parametrize("name", ["etc/hosts", "etc/resolv.conf", "dev/null", "dev/console", "dev/shm"])
def test_system_file_that_is_a_link_out(
    trimaran: Trimaran, faulty: FaultyRegistry, context: Context, victim: Path, name: str
) -> None:
    base = hostile.image(faulty, "hostile", link(name, f"{victim}/canary"))
    check = untouched(victim)
    build(trimaran, context, f"FROM {base}\nRUN echo overwritten > /{name}; cat /{name}; true\n", exit_code=None)
    check()


def test_merged_folders_must_work(either: Trimaran, faulty: FaultyRegistry, context: Context) -> None:
    """Links that stay inside are what distributions ship: /bin of usrmerge, /var/run, /etc elsewhere."""
    entries = (folder("real"), folder("real/etc"), link("etc", "real/etc"), folder("var"), link("var/run", "/run"))
    base = hostile.image(faulty, "merged", *entries)
    text = f"FROM {base}\nRUN grep -q localhost /etc/hosts && echo x > /var/run/x && test -s /run/x\nCMD cat /run/x\n"
    assert output_of(either, context, text) == "x\n"


# -- T18, T15: what root inside may do ------------------------------------------------------------------------------


def status_of(command: Trimaran, context: Context, before: str = "") -> dict[str, str]:
    text = f"FROM alpine\nRUN adduser -D bob 2>/dev/null || echo bob:x:1000:1000::/: >> /etc/passwd\n{before}"
    said = output_of(command, context, text + "RUN cat /proc/self/status > /tmp/status\nCMD cat /tmp/status\n")
    return dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)


def test_capabilities_are_docker_s(either: Trimaran, bases: str, context: Context) -> None:
    status = status_of(either, context)
    wanted = DOCKER_CAPABILITIES
    for name in ("CapEff", "CapPrm", "CapBnd"):
        assert int(status[name], 16) in (wanted, wanted & ~MKNOD)
    assert int(status["CapInh"], 16) == 0
    assert int(status["CapAmb"], 16) == 0
    assert status["Seccomp"] == "2"
    assert status["NSpid"].split()[-1] in {"1", "2", "3", "4", "5", "6", "7", "8", "9"}


def test_other_users_have_none(either: Trimaran, bases: str, context: Context) -> None:
    status = status_of(either, context, "USER bob\n")
    assert [int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")] == [0, 0, 0, 0]
    assert set(status["Uid"].split()) == {"1000"}
    assert set(status["Gid"].split()) == {"1000"}
    assert status["Groups"].split() in ([], ["1000"])


def test_kernel_is_read_only(either: Trimaran, bases: str, context: Context) -> None:
    attempts = (
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "mkdir /sys/fs/cgroup/mine",
        "mount -t tmpfs none /mnt",
        "unshare -m true",
        "cat /proc/kcore | head -c 1 | grep -q .",
        "mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk",
    )
    text = "FROM alpine\n" + "".join(f"RUN ! ( {attempt} )\n" for attempt in attempts)
    build(either, context, text)


# -- T19: environment and users -------------------------------------------------------------------------------------


def test_environment_is_what_the_dockerfile_says(either: Trimaran, bases: str, context: Context) -> None:
    either.environment["AWS_SECRET_ACCESS_KEY"] = CANARY
    text = "FROM alpine\nENV GIVEN=1\nARG ALSO=2\nRUN env > /env; cat /proc/*/environ >> /env\nCMD cat /env\n"
    said = output_of(either, context, text)
    names = {line.partition("=")[0] for line in said.split("\0")[0].splitlines() if "=" in line}
    assert {"GIVEN", "ALSO", "PATH"} <= names <= {"GIVEN", "ALSO", "PATH", "HOME", "PWD", "SHLVL", "HOSTNAME"}
    assert CANARY not in said
    ran = either("run", "-e", "GIVEN=3", "out", "env").stdout
    assert "GIVEN=3" in ran
    assert CANARY not in ran


def test_only_processes_of_the_step_are_seen(either: Trimaran, bases: str, context: Context) -> None:
    said = output_of(either, context, "FROM alpine\nRUN cat /proc/[0-9]*/cmdline | tr '\\0' ' ' > /ps\nCMD cat /ps\n")
    assert "trimaran" not in said
    assert "crun" not in said


@pytest.mark.parametrize(
    "user", ["4294967296", "4294967295", "2147483648", "-1", "0:4294967296", "nobody-such", "../x"]
)
def test_users_that_are_none(trimaran: Trimaran, bases: str, context: Context, user: str) -> None:
    said = build(trimaran, context, f"FROM alpine\nUSER {user}\nRUN id -u > /dev/null\n", exit_code=1)
    assert user.rsplit(":", maxsplit=1)[-1] in said.rpartition("ERROR: ")[2]


def test_user_of_a_name_like_a_number_is_no_number(trimaran: Trimaran, bases: str, context: Context) -> None:
    text = "FROM alpine\nRUN echo 007:x:1000:1000::/: >> /etc/passwd\nUSER 007\nRUN id -u > /tmp/id\nCMD cat /tmp/id\n"
    assert output_of(trimaran, context, text) in ("1000\n", "7\n"), "never 0"


def test_passwd_that_is_no_file_is_not_waited_for(
    trimaran: Trimaran, faulty: FaultyRegistry, context: Context, victim: Path
) -> None:
    (victim / "passwd").write_text("bob:x:0:0::/:\n")
    for entry in (pipe("etc/passwd"), link("etc/passwd", f"{victim}/passwd"), link("etc/passwd", "/dev/zero")):
        base = hostile.image(faulty, "passwd", entry)
        build(trimaran, context, f"FROM {base}\nUSER bob\nRUN true\n", exit_code=1)
        build(trimaran, context, f"FROM {base}\nUSER 5:6\nRUN true\n")


def test_passwd_that_is_a_link_inside_must_work(trimaran: Trimaran, faulty: FaultyRegistry, context: Context) -> None:
    base = hostile.image(faulty, "linked", link("etc/passwd", "../usr/lib/passwd"), folder("usr"), folder("usr/lib"))
    text = (
        "RUN mkdir -p /usr/lib; echo bob:x:9:9::/: > /usr/lib/passwd\nUSER bob\nRUN id -u > /tmp/id\nCMD cat /tmp/id\n"
    )
    assert output_of(trimaran, context, f"FROM {base}\n{text}") == "9\n"


# -- T35, T36: links of contexts and images -------------------------------------------------------------------------


def test_dockerfile_and_ignore_file_that_lead_out(either: Trimaran, bases: str, context: Context, victim: Path) -> None:
    (context / "Dockerfile").symlink_to(victim / "canary")
    done = either("build", ".", cwd=context.folder, exit_code=1)
    assert CANARY not in done.stderr
    (context / "Dockerfile").unlink()
    (context / ".dockerignore").symlink_to(victim / "canary")
    build(either, context, "FROM alpine\nCOPY . /x\n", exit_code=None)


def test_dockerfile_that_is_a_link_inside_must_work(either: Trimaran, bases: str, context: Context) -> None:
    context.write("docker/Dockerfile.real", "FROM alpine\nRUN true\n")
    (context / "Dockerfile").symlink_to("docker/Dockerfile.real")
    either("build", ".", cwd=context.folder)


def test_links_of_the_context_are_copied_not_followed(
    either: Trimaran, bases: str, context: Context, victim: Path
) -> None:
    (context / "out").symlink_to(victim)
    (context / "file").symlink_to(victim / "canary")
    context.write("in/real", "real\n")
    (context / "inside").symlink_to("in")
    text = "FROM alpine\nCOPY . /all/\nCOPY inside/real /real\nRUN ! cat /all/file; ! ls /all/out/; cat /real\n"
    build(either, context, text)
    for source in ("out/canary", "out/", "file"):
        build(either, context, f"FROM alpine\nCOPY {source} /stolen\nRUN cat /stolen\n", exit_code=None)


@pytest.mark.parametrize("how", ["absolute", "upwards"])
def test_destinations_through_links_of_the_image(
    either: Trimaran, faulty: FaultyRegistry, context: Context, victim: Path, how: str
) -> None:
    """WORKDIR, COPY, ADD, VOLUME and --chown land in the image, where its link leads inside it."""
    target = str(victim) if how == "absolute" else "../../../../../.." + str(victim)
    base = hostile.image(faulty, "links", link("out", target))
    context.write("file", "file\n")
    check = untouched(victim)
    text = f"FROM {base}\nCOPY file /out/copied\nADD --chown=1:1 file /out/added\nWORKDIR /out/work\n"
    text += f"VOLUME /out/volume\nRUN echo x > /out/ran; rm -f /out/canary\nCMD ls {victim}\n"
    said = output_of(either, context, text)
    check()
    assert said.split() == ["added", "copied", "ran", "work"]


def test_copy_from_an_image_with_links_out(
    trimaran: Trimaran, faulty: FaultyRegistry, context: Context, victim: Path
) -> None:
    entries = (link("out", str(victim)), link("file", f"{victim}/canary"), link("in", "/bin"))
    base = hostile.image(faulty, "links", *entries)
    for source in ("/out/canary", "/out/", "/file"):
        build(trimaran, context, f"FROM alpine\nCOPY --from={base} {source} /stolen\nRUN cat /stolen\n", exit_code=None)
    copies = "COPY --from=stage /in/busybox /\nCOPY --from=stage / /all\n"
    dest = trimaran.home / "dest"
    build(trimaran, context, f"FROM {base} AS stage\nFROM scratch\n{copies}", "-o", str(dest))
    assert (dest / "busybox").stat().st_size > 1_000_000, "a link inside is followed"
    assert (dest / "all" / "out").is_symlink()
    assert (dest / "all" / "file").is_symlink()


def test_local_output_through_links_of_the_destination(
    trimaran: Trimaran, bases: str, context: Context, victim: Path
) -> None:
    """What is in the destination folder does not lead the files of an image elsewhere."""
    dest = trimaran.home / "dest"
    dest.mkdir()
    (dest / "etc").symlink_to(victim)
    (dest / "file").symlink_to(victim / "canary")
    check = untouched(victim)
    context.write("file", "file\n")
    build(trimaran, context, "FROM alpine\nCOPY file /etc/\nCOPY file /\n", "-o", str(dest), exit_code=None)
    check()


# -- T44, T63: network, tags ---------------------------------------------------------------------------------


def test_no_network_is_no_network(either: Trimaran, bases: str, context: Context) -> None:
    text = (
        "FROM alpine\nRUN cat /proc/net/dev > /dev.txt; cat /etc/resolv.conf > /resolver\nCMD cat /dev.txt /resolver\n"
    )
    said = output_of(either, context, text, "--network=none")
    assert [line.partition(":")[0].strip() for line in said.splitlines() if ":" in line] == ["lo"]
    assert "nameserver" not in said
    ran = either("run", "--network=none", "out", "cat", "/proc/net/dev", "/etc/resolv.conf").stdout
    assert [line.partition(":")[0].strip() for line in ran.splitlines() if ":" in line] == ["lo"]
    assert "nameserver" not in ran
    assert "lo" in either("run", "out", "cat", "/proc/net/dev").stdout


def test_t42_no_abstract_socket_of_the_machine(either: Trimaran, bases: str) -> None:
    """Not on the machine's network either; as an account of its own, and in a container that is run."""
    if tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 12):
        pytest.skip("Landlock knows of abstract sockets from Linux 6.12 on")
    name = f"trimaran-{os.getpid()}"
    connect = (
        f'use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0); print connect(S, pack_sockaddr_un("\\0{name}")) ? 1 : $!'
    )
    with socket.socket(socket.AF_UNIX) as service:
        service.bind(f"\0{name}")
        service.listen()
        outside = subprocess.run(["perl", "-e", connect], capture_output=True, text=True, check=True)
        assert outside.stdout == "1"
        inside = either("run", "--network=host", "debian:12", "perl", "-e", connect)
        assert inside.stdout == "Operation not permitted"


def test_tag_that_moves_is_resolved_once(trimaran: Trimaran, faulty: FaultyRegistry, context: Context) -> None:
    """All platforms of a build are of one image, whatever the tag becomes meanwhile."""
    hostile.image(faulty, "moved")
    base = f"{faulty.host}/alpine"
    faulty.fail(SLOW, seconds=1.0, path="/alpine/manifests/sha256:")
    context.dockerfile(f"FROM {base} AS one\nRUN true\nFROM {base}\nCOPY --from=one /bin/busybox /\n")
    words = ("build", "--progress=plain", "--platform", "linux/amd64,linux/386", ".")
    process = trimaran.start(*words, cwd=context.folder)
    until(lambda: faulty.seen("", "/alpine/manifests/latest"), "the tag is asked for")
    faulty.manifests["alpine", "latest"] = faulty.manifests["moved", "latest"]
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    assert len(faulty.seen("", "/alpine/manifests/latest")) == 1
    trimaran(*words, cwd=context.folder, exit_code=None)
    assert len(faulty.seen("", "/alpine/manifests/latest")) == 2, "the next build asks again"


# -- secrets that are none of the image's ---------------------------------------------------------------------------


def test_proxies_are_seen_by_steps_but_not_kept(either: Trimaran, bases: str, context: Context) -> None:
    text = 'FROM alpine\nRUN test "$HTTP_PROXY" && test "$no_proxy" = here\nCMD env\n'
    words = ("-t", "app", "-o", f"type=oci,dest={either.home}/app.tar", "--build-arg", "no_proxy=here")
    build(either, context, text, *words, "--build-arg", "HTTP_PROXY=http://me:hush@proxy.test")
    again = build(either, context, text, *words, "--build-arg", "HTTP_PROXY=http://other.test")
    assert again.count("CACHED") == 2, "the base, and the step: proxies are no part of its key"
    done = subprocess.run(
        ["skopeo", "inspect", "--config", f"oci-archive:{either.home}/app.tar"],
        capture_output=True,
        text=True,
        check=True,
    )
    for told in ("proxy.test", "other.test"):
        assert told not in done.stdout
    assert "hush" not in done.stdout


def test_secrets_of_urls_are_not_told(trimaran: Trimaran, faulty: FaultyRegistry, context: Context) -> None:
    location = f"{faulty.url}/storage/blob?X-Amz-Signature=hush&user=me"
    faulty.fail("redirect", method="GET", path="/alpine/blobs/", location=location, times=0)
    text = f"FROM {faulty.host}/alpine\nRUN true\n"
    said = build(trimaran, context, text, exit_code=1)
    assert "/storage/blob" in said
    assert "hush" not in said
    kept = b"".join(path.read_bytes() for path in (trimaran.root / "builds").rglob("*") if path.is_file())
    assert b"hush" not in kept
