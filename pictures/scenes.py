"""What is played for the pictures: commands as a person types them, on a store and a registry of their own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pictures.cast import Frame, joined, record

DOCKERFILE = """\
FROM --platform=$BUILDPLATFORM alpine AS compile
WORKDIR /src
COPY main.c .
ARG TARGETARCH
RUN sleep 0.4 && printf "#!/bin/sh\\necho Hello, $TARGETARCH\\n" > hello && chmod +x hello

FROM alpine
COPY --from=compile /src/hello /usr/local/bin/
RUN hello | tee /etc/motd
CMD ["hello"]
"""


class Stage(NamedTuple):
    folder: Path
    program: str
    registry: str

    def play(self, *words: str) -> list[Frame]:
        """`trimaran words…` in the context's folder."""
        return record([self.program, *words], " ".join(["trimaran", *words]), self.context, self.environment)

    @property
    def context(self) -> Path:
        path = self.folder / "app"
        if not path.exists():
            path.mkdir()
            (path / "Dockerfile").write_text(DOCKERFILE)
            (path / "main.c").write_text("int main(void) {}\n")
        return path

    @property
    def environment(self) -> dict[str, str]:
        settings = self.folder / "trimaran.toml"
        settings.write_text(f'[registry."docker.io"]\nmirrors = ["{self.registry}"]\n')
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("TRIMARAN", "DOCKER"))},
            "TERM": "xterm-256color",
            "HOME": str(self.folder),
            "TRIMARAN_ROOT": str(self.folder / "store"),
            "TRIMARAN_CONFIG": str(settings),
        }


def two_platforms(stage: Stage) -> list[Frame]:
    name = f"{stage.registry}/app"
    return stage.play("build", "--platform", "linux/amd64,linux/arm64", "-t", name, "--push", ".")


def explained(stage: Stage) -> list[Frame]:
    (stage.context / "main.c").write_text("int main(void) { return 1; }\n")
    stage.play("build", "-t", "app", ".")
    return stage.play("explain")


def failing(stage: Stage) -> list[Frame]:
    path = stage.context / "Dockerfile"
    path.write_text(DOCKERFILE.replace("RUN hello | tee", "RUN helo >"))
    try:
        return stage.play("build", ".")
    finally:
        path.write_text(DOCKERFILE)


def doctor(stage: Stage) -> list[Frame]:
    return stage.play("doctor")


def run(stage: Stage) -> list[Frame]:
    name = f"{stage.registry}/app"
    return joined(
        stage.play("run", "--platform", "linux/amd64", name), stage.play("run", "--platform", "linux/arm64", name)
    )


ALL: dict[str, Callable[[Stage], list[Frame]]] = {
    "two-platforms": two_platforms,
    "run": run,
    "explain": explained,
    "failing-step": failing,
    "doctor": doctor,
}
TITLES = {
    "two-platforms": "One command, two platforms, pushed",
    "run": "Run each of them",
    "explain": "Why was this not cached?",
    "failing-step": "A step that fails",
    "doctor": "What this machine lacks",
}
