"""What the pages for those who come from elsewhere tell them to write, run: tables' lines, and a script in both its forms."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import tarfile

import pytest
from stage.places import container
from stage.recipes import DOCUMENTS

PAGES = ("coming-from-kaniko.md", "coming-from-buildah.md")  # buildx's lines are what all other tests run
NOT_RUN = {
    "trimaran build --load": "wants a Docker daemon: tests/e2e/test_load.py",
    "trimaran build https://HOST/FILE.tar.gz": "tests/e2e/test_contexts.py",
    "trimaran build https://HOST/REPO.git": "tests/e2e/test_contexts.py",
    "trimaran build -": "below, with something to read",
    "trimaran build --locked": "tests/e2e/test_lock.py",
    "trimaran login": "tests/e2e/test_registries.py",
    "trimaran logout": "tests/e2e/test_registries.py",
    "trimaran run": "its name is in the store only after a build of it",
    "trimaran rmi": "the same",
    "trimaran binfmt --install": "changes the machine: tests/e2e/test_debian.py",
    "trimaran doctor": "says what this machine lacks, whatever that is: tests/e2e/test_doctor.py",
    "--allow security.insecure": "allows, and does nothing of itself: tests/e2e/test_security.py",
}


def is_run_elsewhere(span):
    return any(span.startswith(name) and span[len(name) : len(name) + 1] in ("", " ", "#") for name in NOT_RUN)


def spans():
    """Every line of the middle columns that is a command or flags of `build`, once."""
    found = []
    for page in PAGES:
        for line in (DOCUMENTS / page).read_text().splitlines():
            cells = re.split(r"(?<!\\)\|", line)
            for span in re.findall(r"`([^`]+)`", cells[2]) if line.startswith("| `") else []:
                words = span if span.startswith("trimaran ") else f"trimaran build {span} ."
                words = words.removesuffix(" . .") + " ." if words.endswith(" . .") else words
                if span.startswith(("trimaran ", "-")) and not is_run_elsewhere(span):
                    found.append(words)
    return sorted(set(found))


def words_of(span, registry, folder):
    """With the placeholders of the pages filled in."""
    places = {"FILE": f"{folder}/file", "DIR": "context", "NAME": f"{registry}/me/app:v1", "STAGE": "last"}
    places |= {"ID": "token", "KEY": "VERSION", "VALUE": "2"}
    if "--output" in span or " -o " in span or "src=DIR" in span:
        places["DIR"] = f"{folder}/folder"
    if "--file" in span:
        places["FILE"] = "context/Dockerfile"
    if "src=FILE" in span:
        places["FILE"] = "context/hello"
    return shlex.split(re.sub(r"\b(" + "|".join(places) + r")\b", lambda match: places[match[1]], span))[1:]


def test_lines_of_the_tables_run(trimaran, bases, context, tmp_path):
    """In an order in which what is read has been made; each on what the ones before it left."""
    context.write("hello", "hello\n")
    context.write("SUB/Dockerfile", "FROM busybox\n")
    context.dockerfile("FROM busybox AS last\nARG VERSION\nCOPY hello /\n")
    reference = f"{bases}/me/app:v1"
    folder = context.folder.parent
    trimaran("build", "--push", "-t", reference, "--cache-to", f"type=local,dest={tmp_path}/folder", context)
    lines = spans()
    assert len(lines) > 40
    for line in sorted(lines, key=lambda line: ("rmi" in line, "prune" in line)):
        words = words_of(line, bases, tmp_path)
        words = [str(context.folder) if word == "." else word for word in words]
        trimaran(*words, cwd=folder, env={"SOURCE_DATE_EPOCH": ""})
    assert json.loads((tmp_path / "folder/index.json").read_text())["manifests"]
    assert (tmp_path / "folder/hello").read_text() == "hello\n"


def test_a_context_from_standard_input(trimaran, program, bases):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, text in {"Dockerfile": b"FROM busybox\nCOPY hello /\n", "hello": b"hello\n"}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    done = subprocess.run(
        [program, "build", "-"], input=stream.getvalue(), env=trimaran.environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def test_kanikos_line(program, bases, context):
    """In a container as Docker starts it, on the same folder."""
    context.write("hello", "hello\n")
    context.dockerfile("FROM busybox\nCOPY hello /\nRUN cat /hello\n")
    text = (DOCUMENTS / "coming-from-kaniko.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("TRIMARAN_SANDBOX=chroot trimaran build"))
    line = line.replace("registry.example", bases).replace("/workspace", "/context")
    with container(program, context.folder, mirror=bases) as place:
        done = place.run("sh", "-c", line, env={"PATH": f"{program.parent}:/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    assert "RUN cat /hello" in done.stderr


@pytest.mark.parametrize("form", ["dockerfile", "python"])
def test_the_script_of_buildah_in_another_form(trimaran, program, bases, context, form):
    blocks = dict(re.findall(r"```(\w+)\n(.*?)```", (DOCUMENTS / "coming-from-buildah.md").read_text(), re.DOTALL))
    context.write("hello.txt", "hello\n")
    if form == "dockerfile":
        trimaran("build", "-t", "loud", context.dockerfile(blocks["dockerfile"]))
    else:
        context.write("loud.py", blocks["python"])
        words = [program.parent / "python", "loud.py"]
        done = subprocess.run(words, cwd=context, env=trimaran.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert trimaran("run", "loud").stdout == "HELLO\n"
    assert trimaran("run", "loud", "sh", "-c", "echo $MODE; pwd").stdout == "production\n/srv\n"
