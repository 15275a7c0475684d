"""What the documents show is what the program does: blocks with a terminal are run and compared (`stage/consoles.py`).

A block is run where `<!-- run -->` stands above it (`<!-- run: exit 3 -->`: its last command ends so); every other block
that shows a terminal has its reason in tests/documents_not_run.toml (`tests/test_docs.py` sees to that). Blocks of one page are run one after another, in a
folder that the page's preparation made.
"""

from __future__ import annotations

import subprocess

import pytest
from stage.consoles import blocks, fits, pages, run

SIMPLE = """
echo hello >hello.txt
printf '%s\\n' 'FROM busybox' 'ARG VERSION=0' 'COPY hello.txt /' 'CMD ["cat", "/hello.txt"]' >Dockerfile
"""
PREPARED = {
    "README.md": SIMPLE,
    "docs/checking.md": "printf '%s\\n' 'FROM alpine AS Base' 'ENV MODE production' >Dockerfile",
    "docs/comparing.md": SIMPLE
    + """
mkdir one two one/d two/d
echo old >one/d/content; echo changed >two/d/content; echo x >one/d/gone; ln -s a one/link; ln -s b two/link
printf '%s\\n' 'FROM busybox' 'ENV B=2' 'COPY . /' >one.dockerfile
printf '%s\\n' 'FROM busybox' 'ENV B=3' 'COPY . /' 'RUN echo new >/d/new' >two.dockerfile
trimaran build --reproducible -f one.dockerfile -t app:1 one
trimaran build --reproducible -f two.dockerfile -t app:2 two
trimaran build --reproducible --build-arg VERSION=1 -t registry.example/app:v1 --push .
trimaran build --reproducible --build-arg VERSION=1 -t app .
""",
    "docs/explain.md": """
mkdir src
for n in $(seq 809); do echo "$n" >src/$n.py; done
echo 'print(1)' >src/a.py
printf '%s\\n' 'FROM busybox AS base' 'WORKDIR /app' 'FROM base AS deps' 'RUN echo deps >/deps' \
    'FROM deps AS build' 'COPY . .' 'RUN ls >/files' >Dockerfile
trimaran build --target build .
trimaran build --target build .
""",
    "docs/getting-started.md": SIMPLE,
    "docs/locking.md": SIMPLE + "cp Dockerfile Dockerfile.alpine; sed -i s/busybox/alpine/ Dockerfile.alpine",
    "docs/reproducible.md": SIMPLE
    + """
git init -q
git -c user.name=A -c user.email=a@example.org commit -q --allow-empty -m first
""",
}
MARKED = sorted({block.page for page in pages() for block in blocks(page) if block.marked})


@pytest.mark.parametrize("page", [pytest.param(page, marks=pytest.mark.emulated) for page in MARKED])
def test_what_is_shown_is_what_happens(trimaran, program, bases, context, page):
    path = f"{program.parent}:{trimaran.environment['PATH']}"
    environment = {**trimaran.environment, "PATH": path, "DOCKER_HOST": f"unix://{trimaran.home}/no-daemon.sock"}
    names = {"registry.example": bases}
    text = PREPARED[page].replace("registry.example", bases)
    done = subprocess.run(["bash", "-e", "-c", text], cwd=context, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for block in blocks(page):
        if block.marked:
            run(block, context.folder, environment, names)


def test_every_marked_page_has_its_preparation():
    assert set(PREPARED) == set(MARKED)


def test_the_comparison_can_fail():
    said = ["#4 [1/2] COPY . .", "#4 DONE 0.3s", "sha256:0123abcd is 12.5MB"]
    assert fits(["#9 [1/2] COPY . .", "#9 DONE 1.0s", "sha256:9… is 1kB"], said)
    assert fits(["…", "sha256:9… is 1kB"], said)
    assert not fits(["#4 [1/2] COPY . .", "#4 CACHED", "sha256:0123abcd is 12.5MB"], said)
    assert not fits(["#4 [1/2] COPY . .", "#4 DONE 0.3s"], said)
