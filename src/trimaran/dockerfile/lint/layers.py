"""Own rules: what makes layers larger, or makes them anew, without need."""

from __future__ import annotations

from collections.abc import Iterator

from trimaran.dockerfile.instructions import Copy, Run
from trimaran.dockerfile.lint.rule import Finding, Rule
from trimaran.dockerfile.stage_graph import StageGraph
from trimaran.dockerfile.state import StageState

COPY_BEFORE_INSTALL = Rule(
    name="CopyBeforeInstall",
    description="Files that change often should be copied after dependencies are installed",
    message="Copying the whole context makes '{command}' (line {line}) run again after every change: "
    "copy only the files that it reads before it, the rest after it",
    experimental=True,
    own=True,
)
PACKAGE_CACHE_IN_LAYER = Rule(
    name="PackageCacheInLayer",
    description="Caches of package managers should not stay in a layer",
    message="The cache of {tool} stays in the layer: {advice}",
    experimental=True,
    own=True,
)
_INSTALLS = (
    "apk add",
    "apt install",
    "apt-get install",
    "bundle install",
    "cargo fetch",
    "composer install",
    "dnf install",
    "go mod download",
    "npm ci",
    "npm install",
    "pip install",
    "pip3 install",
    "pnpm install",
    "poetry install",
    "uv sync",
    "yarn install",
    "yum install",
)


class _Manager:
    """`remedies`: words of a command that leave nothing; `folders`: where it keeps its cache, for cache mounts."""

    def __init__(
        self, tool: str, commands: tuple[str, ...], remedies: tuple[str, ...], folders: tuple[str, ...]
    ) -> None:
        self.tool, self.commands, self.remedies, self.folders = tool, commands, remedies, folders
        self.advice = f"add {remedies[0]}, or --mount=type=cache,target={folders[0]}"


_MANAGERS = (
    _Manager(
        "apt",
        ("apt-get install", "apt install", "apt-get update", "apt update"),
        ("rm -rf /var/lib/apt/lists/*", "rm -rf /var/lib/apt", "rm -fr /var/lib/apt", "rm -r /var/lib/apt"),
        ("/var/lib/apt", "/var/cache/apt"),
    ),
    _Manager("apk", ("apk add",), ("--no-cache", "rm -rf /var/cache/apk"), ("/var/cache/apk", "/etc/apk/cache")),
    _Manager(
        "pip",
        ("pip install", "pip3 install"),
        ("--no-cache-dir", "PIP_NO_CACHE_DIR", "pip cache purge"),
        ("/root/.cache", "/.cache/pip"),
    ),
    _Manager(
        "npm", ("npm ci", "npm install"), ("npm cache clean --force", "rm -rf /root/.npm"), ("/root/.npm", "/.npm")
    ),
)


def copy_before_install(graph: StageGraph) -> Iterator[Finding]:
    """A copy of the whole context, with an installation of dependencies after it in the same stage."""
    for state in graph.reachable():
        whole: Copy | None = None
        for item in state.stage.instructions if state.stage is not None else ():
            if isinstance(item, Copy) and not item.source_stage and {".", "./", "/"} & set(item.sources):
                whole = whole or item
            elif isinstance(item, Run) and whole is not None:
                command = next((words for words in _INSTALLS if words in _shown(item)), "")
                if command:
                    line = item.node.line.start
                    yield COPY_BEFORE_INSTALL.found(whole.node, command=command, line=line)
                    break


def package_cache_in_layer(graph: StageGraph) -> Iterator[Finding]:
    """Only where the layer is a part of what is built: what other stages only copy from is thrown away."""
    kept: StageState | None = graph.goal
    while kept is not None:
        for item in kept.stage.instructions if kept.stage is not None else ():
            if isinstance(item, Run):
                yield from _caches(item, kept)
        kept = kept.base


def _caches(item: Run, state: StageState) -> Iterator[Finding]:
    text = _shown(item)
    mounted = [word.text for word in item.mounts if "type=cache" in word.text or "type=tmpfs" in word.text]
    for manager in _MANAGERS:
        if not any(command in text for command in manager.commands):
            continue
        set_before = any(remedy in state.env for remedy in manager.remedies)
        gone = set_before or any(remedy in text for remedy in manager.remedies)
        if not gone and not any(folder in mount for folder in manager.folders for mount in mounted):
            yield PACKAGE_CACHE_IN_LAYER.found(item.node, tool=manager.tool, advice=manager.advice)


def _shown(item: Run) -> str:
    """The whole command with single spaces; options between a program and its verb are left out."""
    texts = [*item.arguments, *(doc.content for doc in item.node.heredocs)]
    words = " ".join(texts).split()
    out: list[str] = []
    for word in words:
        if word.startswith("-") and out and out[-1] in _PROGRAMS:
            out.append("")  # keep it for the remedies, behind the verb
            out[-1] = out[-2]
            out[-2] = word
        else:
            out.append(word)
    return " ".join(out)


_PROGRAMS = frozenset(command.partition(" ")[0] for command in _INSTALLS)
