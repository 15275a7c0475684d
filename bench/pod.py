"""A COPY-only build by tools that have to run in a pod: `python -m bench.pod PROGRAM [--rounds N] [--json FILE]`.

The pod is what Kubernetes' "restricted" policy leaves: a user that nobody knows, no capability, a read-only root, one
scratch folder in memory. What is compared, each with nothing pulled and nothing cached, pushing to one registry:

- this program;
- kaniko's way: the whole image is unpacked as files, the context copied into it, and what changed packed again (skopeo
  and umoci do it, since kaniko cannot be had as a Debian package);
- buildah with `--isolation chroot`, which needs more than such a pod grants: its user has a name, and may make user
  namespaces.

The command of a contender is a container that starts, works and ends; starting it is in everybody's time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stage.places import Container, container

import bases
from bases.registry import serve
from bench import content, outputs, report, timing

FILES = 2_000
ROOM = "2g"  # of the scratch folder: buildah's store has a copy of the image per layer
TRIMARAN = "{program} build --progress=plain --push -t {target} /context"
UNPACKED = """set -e; cd /scratch; mkdir kaniko; cd kaniko
skopeo --tmpdir /scratch copy -q --insecure-policy --src-tls-verify=false docker://{base} oci:image:base
umoci unpack --rootless --image image:base bundle
mkdir -p bundle/rootfs/srv; cp -R /context/tree bundle/rootfs/srv/tree
umoci repack --image image:made bundle
skopeo --tmpdir /scratch copy -q --insecure-policy --dest-tls-verify=false oci:image:made docker://{target}
"""
BUILDAH = """set -e; mkdir /scratch/buildah; cd /scratch/buildah
mkdir -p "$HOME/.config/containers"
echo '{{"default":[{{"type":"insecureAcceptAnything"}}]}}' > "$HOME/.config/containers/policy.json"
buildah() {{ command buildah --root /scratch/buildah/root --runroot /scratch/buildah/run --storage-driver {driver} \
  --storage-opt {driver}.ignore_chown_errors=true "$@"; }}
buildah build --isolation chroot --tls-verify=false --tag made /context
buildah push --tls-verify=false made docker://{target}
"""


class Contender(NamedTuple):
    name: str
    script: str
    is_confined: bool = True  # else it is let make user namespaces


CONTENDERS = (
    Contender("trimaran", TRIMARAN),
    Contender("kaniko's way", UNPACKED),
    Contender("buildah, overlay", BUILDAH.replace("{driver}", "overlay"), is_confined=False),
    Contender("buildah, vfs", BUILDAH.replace("{driver}", "vfs"), is_confined=False),
)


class Figures(NamedTuple):
    took: list[timing.Took]
    failed: str = ""
    differs: str = ""  # from what this program made


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    found = measure(Path(options.program).absolute(), options.bases, options.rounds)
    print(table(found))
    document = {"machine": report.machine(), "rows": [_row(name, figures) for name, figures in found.items()]}
    if options.json:
        options.json.write_text(json.dumps(document, indent=1))
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.pod", description="A COPY-only build in a pod without rights.")
    parser.add_argument("program", help="the installed trimaran to measure")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (default 5)")
    parser.add_argument("--bases", type=Path, default=Path(".work/bases"), help="where base images are kept")
    parser.add_argument("--json", type=Path, help="write the rows there")
    return parser.parse_args(arguments)


def measure(program: Path, kept: Path, rounds: int) -> dict[str, Figures]:
    """Medians need `rounds`; a round before them is not measured, its images are compared."""
    bases.make(kept)
    with tempfile.TemporaryDirectory(prefix="trimaran-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)  # a pod's user has to reach it
        with serve(folder / "registry") as address, contextlib.ExitStack() as stack:
            for _ in bases.push(kept, address):
                pass
            base = f"{address}/debian:12"
            context = _context(folder / "context", base)
            places = {
                confined: stack.enter_context(_place(program, context, address, confined=confined))
                for confined in (True, False)
            }
            found: dict[str, Figures] = {each.name: Figures([]) for each in CONTENDERS}
            for number in range(rounds + 1):
                first = number % len(CONTENDERS)
                for each in (*CONTENDERS[first:], *CONTENDERS[:first]):
                    target = f"{address}/pod/{CONTENDERS.index(each)}-{number}:1"
                    script = each.script.format(program=program, base=base, target=target)
                    found[each.name] = _once(
                        each.name, places[each.is_confined], script, folder / "log", found[each.name], number
                    )
            return _compared(found, address)


def _context(folder: Path, base: str) -> Path:
    content.tree(folder / "tree", FILES)
    (folder / "Dockerfile").write_text(f"FROM {base}\nCOPY tree /srv/tree\n")
    return folder


@contextlib.contextmanager
def _place(program: Path, context: Path, registry: str, *, confined: bool) -> Iterator[Container]:
    with container(
        program, context, mirror=registry, root=False, seccomp_profile=confined, room=ROOM, is_known=not confined
    ) as place:
        yield place


def _once(name: str, place: Container, script: str, log: Path, before: Figures, number: int) -> Figures:
    if before.failed:
        return before
    scratch = {"HOME": "/scratch/home", "TMPDIR": "/scratch", "XDG_RUNTIME_DIR": "/scratch/runtime"}
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **scratch, **place.environment()}
    argv = place.words("/bin/sh", "-c", script, cwd="/scratch", env=environment)
    try:
        took = timing.run(argv, {"PATH": environment["PATH"]}, log)
    except timing.CommandFailed as problem:
        print(f"{name}: {problem}", file=sys.stderr)
        return before._replace(failed=str(problem))
    finally:
        _clean(place.folder / "scratch")
    return before._replace(took=[*before.took, took] if number else before.took)


def _clean(scratch: Path) -> None:
    """Nothing is left for the next contender but the settings."""
    for path in scratch.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "trimaran.toml":
            path.unlink()


def _compared(found: dict[str, Figures], address: str) -> dict[str, Figures]:
    made = {
        each.name: outputs.read(f"{address}/pod/{number}-0:1", is_pushed=True)
        for number, each in enumerate(CONTENDERS)
        if not found[each.name].failed
    }
    ours = made[CONTENDERS[0].name]
    return {
        name: figures._replace(differs=outputs.difference(made[name], ours)) if name in made else figures
        for name, figures in found.items()
    }


def _row(name: str, figures: Figures) -> dict[str, Any]:
    figure = report.Figure.of(figures.took)
    return {
        "name": name,
        "seconds": figure.median if figure else None,
        "all": [took.wall for took in figures.took],
        "failed": figures.failed,
        "differs": figures.differs,
    }


def table(found: dict[str, Figures]) -> str:
    """Medians with the lowest and the highest, and what share of each this program needed."""
    ours = report.Figure.of(found[CONTENDERS[0].name].took)
    lines = ["| tool | seconds | ratio | same image |", "| --- | --- | --- | --- |"]
    for name, figures in found.items():
        figure = report.Figure.of(figures.took)
        if figure is None:
            lines.append(f"| {name} | failed: {figures.failed.splitlines()[-1]} | | |")
            continue
        ratio = f"{ours.median / figure.median:.2f}" if ours else ""
        lines.append(f"| {name} | {figure} | {ratio} | {figures.differs or 'yes'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
