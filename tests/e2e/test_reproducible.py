"""The same digest, whoever builds when and where: as BuildKit does it, and by --reproducible."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from stage.account import Account
from stage.contexts import Context, open_folder
from stage.program import Trimaran

from goldens import rewrite
from goldens.images import archive, images

DOCKERFILE = """\
FROM busybox
WORKDIR /work
COPY . /work/
COPY <<EOF /inline
hello
EOF
ADD things.tar /unpacked/
RUN date > /dev/null; mkdir /made; cp -p /work/b /made/b; echo x > /made/x; ln -s x /made/link; rm /inline
COPY --link a /linked/
"""


@pytest.mark.root
@pytest.mark.parametrize("epoch", rewrite.EPOCHS)
def test_rewritten_times_are_those_of_buildkit_to_the_last_bit(
    epoch: int, trimaran: Trimaran, bases: str, tmp_path: Path
) -> None:
    """The config holds the digest of every layer's content: equal configs are equal images."""
    rewrite.write_context(tmp_path)
    output = trimaran.home / "out.tar"
    line = ("build", "-o", f"type=oci,dest={output},{rewrite.OPTIONS}", ".")
    trimaran(*line, cwd=tmp_path, env={"SOURCE_DATE_EPOCH": str(epoch)})
    assert rewrite.config(output) == json.loads(rewrite.GOLDEN.read_text())["configs"][str(epoch)]


def test_rewriting_without_a_time_is_told(trimaran: Trimaran, bases: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    output = trimaran.home / "out.tar"
    said = trimaran("build", "-o", f"type=oci,dest={output},{rewrite.OPTIONS}", ".", cwd=tmp_path).stderr
    assert "rewrite-timestamp is specified, but no source-date-epoch was found" in said


def fill(folder: Path, *, backwards: bool, changed: int, owner: int) -> Path:
    """The same files, made in another order, with other times and by another user."""
    files = {
        "Dockerfile": DOCKERFILE,
        **{name: f"{name}\n" * 1000 for name in ("a", "b", "c", "dir/d", "dir/deep/e")},
        "things.tar": rewrite.cases._archive({"one": "1\n"}).decode("latin-1"),
    }
    order = list(files.items())
    for name, text in reversed(order) if backwards else order:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode("latin-1"))
        (folder / name).chmod(0o755 if name == "c" else 0o644)
    for above, folders, names in os.walk(folder):
        for number, name in enumerate((*folders, *names, ".")):
            path = os.path.join(above, name)
            if name in folders or name == ".":
                os.chmod(path, 0o755)
            os.chown(path, owner, owner)
            os.utime(path, (changed + number, changed + number))
    return folder


def masked(trimaran: Trimaran, umask: str, processors: str) -> list[str]:
    """The command as somebody with another umask, on fewer processors."""
    return ["taskset", "-c", processors, "sh", "-c", f'umask {umask}; exec "$@"', "-", *trimaran.command]


def digest(output: Path) -> str:
    with archive(output) as (opened, descriptor):
        assert images(opened, descriptor)
        return str(descriptor["digest"])


BY_FLAG = ((), ("--reproducible",), "")
BY_FLAG_AT = (("1700000000",), ("--reproducible",), "")
AS_BUILDKIT = (("1500000000",), (), f",{rewrite.OPTIONS}")
ZSTD = ((), ("--reproducible",), ",compression=zstd")


@pytest.mark.root
@pytest.mark.rootless
@pytest.mark.emulated
@pytest.mark.parametrize(("epoch", "flags", "attributes"), [BY_FLAG, BY_FLAG_AT, AS_BUILDKIT, ZSTD])
def test_the_digest_is_the_same_for_anybody_anywhere(
    epoch: tuple[str, ...],
    flags: tuple[str, ...],
    attributes: str,
    trimaran: Trimaran,
    rootless: Trimaran,
    account: Account,
    bases: str,
) -> None:
    """Root and an ordinary account, in stores of their own, with other files' times, order, umask, processors, hour.

    Two platforms, one of them emulated. Both kinds of store are asked again, so that results of the cache are the same.
    """
    environment = {"SOURCE_DATE_EPOCH": epoch[0]} if epoch else {}
    platforms = "--platform=linux/amd64,linux/arm64" if not epoch else "--platform=linux/amd64"
    found = []
    with open_folder() as first, open_folder() as second:
        fill(first, backwards=False, changed=1_600_000_000, owner=0)
        fill(second, backwards=True, changed=int(time.time()) - 5000, owner=account.uid)
        trimaran.command = masked(trimaran, "077", "0")
        rootless.command = masked(rootless, "002", "0-3")
        for command, context in ((trimaran, first), (rootless, second), (rootless, second)):
            output = command.home / "out.tar"
            line = ("build", *flags, platforms, "-o", f"type=oci,dest={output}{attributes}", ".")
            command(*line, cwd=context, env=environment)
            found.append((digest(output), output.read_bytes()))
    assert found[0] == found[1] == found[2]


@pytest.mark.root
def test_a_pause_between_two_steps_is_not_seen(trimaran: Trimaran, bases: str, tmp_path: Path) -> None:
    """They write into one folder: whether within one second or not, it is listed with what each of them made."""
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox AS first\nRUN mkdir /d; echo a > /d/a\nFROM first\nRUN echo b > /d/b; echo c > /etc/c\n"
    )
    found = []
    for pause in (0.0, 1.1):
        root = {"TRIMARAN_ROOT": str(trimaran.home / f"store-{pause}")}
        trimaran("build", "-q", "--reproducible", "--target=first", ".", cwd=tmp_path, env=root)
        time.sleep(pause)
        found.append(trimaran("build", "-q", "--reproducible", ".", cwd=tmp_path, env=root).stdout)
    assert found[0] == found[1]


@pytest.mark.root
@pytest.mark.parametrize("flags", [(), ("--reproducible",)])
def test_what_a_store_or_a_cache_gives_is_the_same_too(
    flags: tuple[str, ...], trimaran: Trimaran, bases: str, context: Context
) -> None:
    """Of a build before it that asked for nothing of the kind, and of one that did: times and encoders were others."""
    fill(context.folder, backwards=False, changed=1_600_000_000, owner=0)
    same = ("build", "-q", "--reproducible")
    expected = trimaran(*same, ".", cwd=context.folder).stdout
    trimaran.forget()
    cache = trimaran.home / "cache"
    trimaran("build", *flags, f"--cache-to=type=local,dest={cache},mode=max", ".", cwd=context.folder)
    assert trimaran(*same, ".", cwd=context.folder).stdout == expected, "from a store"
    trimaran.forget()
    imported = trimaran(*same, f"--cache-from=type=local,src={cache}", ".", cwd=context.folder)
    assert imported.stdout == expected, "from a cache"


@pytest.mark.root
def test_what_a_step_gave_on_older_files_is_not_what_it_gives_now(
    trimaran: Trimaran, bases: str, context: Context
) -> None:
    """A RUN that gives the same but for times is its earlier run; not where those times reach the image."""
    context.dockerfile("FROM busybox\nCOPY file /d/\nRUN chown 1:1 /d/file\n")
    os.utime(context.write("file", "x\n"), (1_000_000_000,) * 2)
    same = ("build", "-q", "--reproducible", "--build-arg=SOURCE_DATE_EPOCH=1500000000", ".")
    expected = trimaran(*same, cwd=context.folder).stdout
    trimaran.forget()
    trimaran("build", ".", cwd=context.folder)
    assert trimaran(*same, cwd=context.folder).stdout == expected


@pytest.mark.root
def test_only_what_is_new_is_touched(trimaran: Trimaran, bases: str, tmp_path: Path) -> None:
    """The look-alike: the base's layer and history are as they were; files of the image are of 1970."""
    (tmp_path / "Dockerfile").write_text("FROM busybox\nCOPY Dockerfile /new/\nRUN touch -d @7 /made; touch /later\n")
    plain, same = trimaran.home / "plain.tar", trimaran.home / "same.tar"
    trimaran("build", "-o", f"type=oci,dest={plain}", ".", cwd=tmp_path)
    trimaran("build", "--reproducible", "-o", f"type=oci,dest={same}", ".", cwd=tmp_path)
    with archive(plain) as (opened, descriptor):
        (before,) = images(opened, descriptor).values()
    with archive(same) as (opened, descriptor):
        (after,) = images(opened, descriptor).values()
    assert before.manifest["layers"][0] == after.manifest["layers"][0]
    assert before.config["history"][0] == after.config["history"][0]
    times = {entry["created"] for entry in after.config["history"][1:]} | {after.config["created"]}
    assert times == {"1970-01-01T00:00:00Z"}
    kept = [path for path in before.tree if path not in {"new", "new/Dockerfile", "made", "later", ""}]
    assert {path: after.tree[path] for path in kept} == {path: before.tree[path] for path in kept}
    assert [after.tree[path]["mtime"] for path in ("new", "new/Dockerfile", "made", "later")] == [0, 0, 0, 0]
