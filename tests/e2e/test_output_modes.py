"""T49: nothing that we write is everybody's to change, and the store is nobody else's to read, whatever the umask is."""

from __future__ import annotations

import json
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

from stage.contexts import Context, open_folder
from stage.guarded import Guarded
from stage.program import Trimaran
from stage.scripts import Scripts

EVERYBODY = 0o002


def open_handed(command: Trimaran) -> Trimaran:
    """The same program, started where the umask takes nothing away."""
    return Trimaran(["sh", "-c", 'umask 000; exec "$@"', "sh", *command.command], command.home)


def below(*paths: Path) -> Iterator[Path]:
    """All that is at `paths`, links aside: they have no mode."""
    for path in paths:
        yield path
        yield from (each for each in path.rglob("*") if not each.is_symlink())


def modes(paths: Iterator[Path]) -> dict[str, str]:
    return {str(path): oct(path.stat().st_mode & 0o7777) for path in paths if path.stat().st_mode & EVERYBODY}


def test_outputs_of_all_kinds(either: Trimaran, bases: str, context: Context) -> None:
    command = open_handed(either)
    context.write("file", "file\n")
    context.dockerfile("FROM alpine AS base\nFROM scratch\nCOPY --chmod=644 file /a/b/file\nCOPY --from=base /bin /\n")
    with open_folder() as home:
        os.chmod(home, 0o777)  # noqa: S103 - an ordinary account writes here
        outputs = (
            f"type=local,dest={home}/new/folders/local",
            f"type=tar,dest={home}/files.tar",
            f"type=oci,dest={home}/oci.tar",
            f"type=oci,tar=false,dest={home}/layouts/oci",
            f"type=docker,dest={home}/docker.tar",
        )
        words = [word for output in outputs for word in ("-o", output)]
        words += ["--iidfile", f"{home}/iid", "--metadata-file", f"{home}/metadata.json"]
        words += ["--cache-to", f"type=local,dest={home}/caches/one", f"--lock={home}/lock.json", "-t", "app"]
        command("build", *words, ".", cwd=context.folder)
        written = sorted(each.name for each in home.iterdir())
        assert written == sorted(
            ["new", "files.tar", "oci.tar", "layouts", "docker.tar", "iid", "metadata.json", "caches", "lock.json"]
        )
        assert modes(below(*home.iterdir())) == {}


LIBRARY = """
import os, sys
import trimaran

os.umask(0)
home = sys.argv[1]
layout = trimaran.OciOutput(dest=f"{home}/layout/oci", tar=False)
trimaran.build(".", outputs=[layout, trimaran.LocalOutput(dest=f"{home}/new/local")])
assert os.umask(0) == 0, "the program's own umask is its own"
"""


def test_outputs_of_a_python_program(either: Trimaran, context: Context) -> None:
    context.write("file", "file\n")
    context.dockerfile("FROM scratch\nCOPY --chmod=644 file /a/file\n")
    with open_folder() as home:
        os.chmod(home, 0o777)  # noqa: S103 - an ordinary account writes here
        Scripts(either, context.folder)(LIBRARY, str(home))
        assert modes(below(*home.iterdir())) == {}


def test_what_groups_may_do_is_as_the_umask_says(trimaran: Trimaran, context: Context) -> None:
    """A folder that a team shares: only everybody is shut out."""
    command = open_handed(trimaran)
    context.write("file", "file\n")
    context.dockerfile("FROM scratch\nCOPY file /\n")
    archive = trimaran.home / "image.tar"
    command("build", "-o", f"type=oci,dest={archive}", ".", cwd=context.folder)
    assert stat.S_IMODE(archive.stat().st_mode) == 0o664
    private = Trimaran(["sh", "-c", 'umask 077; exec "$@"', "sh", *trimaran.command], trimaran.home)
    private("build", "-o", f"type=oci,dest={archive}", ".", cwd=context.folder)
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600


def test_what_we_make_in_images(either: Trimaran, bases: str, context: Context) -> None:
    """The folders and files of every instruction, and what programs of a step make."""
    command = open_handed(either)
    context.write("file", "file\n")
    (context / "file").chmod(0o644)
    text = (
        "FROM alpine AS base\nWORKDIR /work/dir\nCOPY file /copied/to/\nADD file /added/to/\n"
        "COPY <<EOF /inline/to/file\nx\nEOF\nRUN touch /work/touched && mkdir /work/made\n"
        "RUN --mount=type=cache,target=/cached/here --mount=type=tmpfs,target=/tmpfs/here true\n"
    )
    context.dockerfile(text + "FROM scratch\nCOPY --from=base /work /work\nCOPY --from=base / /all\n")
    archive = either.home / "files.tar"
    command("build", "-o", f"type=tar,dest={archive}", ".", cwd=context.folder)
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    assert any(member.name == "all/copied/to/file" for member in members)
    everybodys = [member.name for member in members if member.mode & EVERYBODY and not member.issym()]
    assert set(everybodys) <= {"all/tmp", "all/var/tmp", "all/dev/null"}, "those of the base are its own"


def test_the_store_and_its_logs_are_ours_alone(either: Trimaran, bases: str, context: Context) -> None:
    command = open_handed(either)
    context.dockerfile(
        "FROM alpine\nRUN --mount=type=cache,target=/c echo said\nADD --chmod=777 Dockerfile /everybodys\n"
    )
    command("build", "-t", "app", "--ulimit", "nofile=64", ".", cwd=context.folder)
    command("images")
    command("run", "app", "true")
    root = either.root
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert list((root / "builds").glob("*/*.log"))
    for path in below(root):
        inside_an_image = path.relative_to(root).parts[:1] in {("snapshots",), ("cache-mounts",)}
        if not inside_an_image:
            assert path.stat().st_mode & EVERYBODY == 0, path
        if path.is_dir() and len(path.relative_to(root).parts) < 2:
            assert path.stat().st_mode & 0o077 == 0, path
    record = json.loads(next((root / "builds").glob("*/record.json")).read_text())
    assert record["status"] == "completed"


def test_credentials_are_ours_alone(either: Trimaran, basic_registry: Guarded) -> None:
    command = open_handed(either)
    host = basic_registry.address
    either.settings.write_text(f'[registry."{host}"]\nhttp = true\n')
    command("login", "-u", basic_registry.user, "--password-stdin", host, stdin=basic_registry.password)
    assert (either.docker_config / "config.json").is_file()
    for path in below(either.docker_config):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_strangers_file_does_not_become_ours_to_act_with(either: Trimaran, context: Context) -> None:
    """Files of a local output are of who builds: a set-id file of somebody else would act as that account."""
    context.write("tool", "#!/bin/sh\n")
    text = (
        "FROM scratch\nCOPY --chmod=6755 --chown=4242:4242 tool /strangers\nCOPY --chmod=6755 tool /roots\n"
        "COPY --chmod=2755 --chown=0:4242 tool /groups\nCOPY --chmod=1755 tool /sticky\n"
    )
    context.dockerfile(text)
    with open_folder() as home:
        os.chmod(home, 0o777)  # noqa: S103 - an ordinary account writes here
        words = ("-o", f"type=local,dest={home}/local", "-o", f"type=tar,dest={home}/files.tar")
        either("build", *words, ".", cwd=context.folder)
        found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home / "local").iterdir()}
        root = (home / "local").stat().st_uid == 0
        with tarfile.open(home / "files.tar") as tar:
            kept = {member.name: member.mode for member in tar}
    assert found == {"strangers": 0o755, "roots": 0o6755 if root else 0o755, "groups": 0o755, "sticky": 0o1755}
    assert kept == {"strangers": 0o6755, "roots": 0o6755, "groups": 0o2755, "sticky": 0o1755}, "archives have owners"
