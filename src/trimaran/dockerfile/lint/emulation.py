"""Own rules: stages that are emulated and need not be, and bases that are of one architecture by their name."""

from __future__ import annotations

from collections.abc import Iterator

from trimaran.dockerfile.instructions import Run
from trimaran.dockerfile.lint.rule import Finding, Rule
from trimaran.dockerfile.stage_graph import StageGraph
from trimaran.dockerfile.state import StageState
from trimaran.platforms import KNOWN_ARCHITECTURES

NEEDLESS_EMULATION = Rule(
    name="NeedlessEmulation",
    description="A stage whose tools can build for another platform should run on the build platform",
    message="Stage '{stage}' runs {tool} under emulation for foreign platforms: {advice}",
    experimental=True,
    own=True,
)
BASE_OF_ONE_ARCHITECTURE = Rule(
    name="BaseOfOneArchitecture",
    description="The name of a base image should not fix its architecture",
    message="Base image {image} is always of architecture {architecture}, whatever platform is built: use {better}",
    experimental=True,
    own=True,
)
_SAME_EVERYWHERE = "what it makes is the same on every platform, so begin it with FROM --platform=$BUILDPLATFORM"
_CROSS = "begin it with FROM --platform=$BUILDPLATFORM and let it build for $TARGETOS/$TARGETARCH"
_TOOLS = {
    "golang": _CROSS,
    "rust": _CROSS,
    "dotnet/sdk": _CROSS,
    "node": _SAME_EVERYWHERE,
    "maven": _SAME_EVERYWHERE,
    "gradle": _SAME_EVERYWHERE,
    "hugo": _SAME_EVERYWHERE,
    "ruby": _SAME_EVERYWHERE,
    "composer": _SAME_EVERYWHERE,
}
# Docker's own repositories of single architectures.
_FIXED = {
    "amd64": "amd64",
    "arm32v5": "arm",
    "arm32v6": "arm",
    "arm32v7": "arm",
    "arm64v8": "arm64",
    "i386": "386",
    "mips64le": "mips64le",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}


def needless_emulation(graph: StageGraph) -> Iterator[Finding]:
    """Stages on the target platform that run a known compiler and of which others only copy files."""
    for state in graph.reachable():
        stage = state.stage
        if stage is None or stage.head.platform or state.base is not None or _is_below(state, graph):
            continue
        advice = _TOOLS.get(_repository(state.base_name), "")
        if advice and any(isinstance(item, Run) for item in stage.instructions):
            tool = _repository(state.base_name)
            name = stage.name or str(graph.states.index(state))
            yield NEEDLESS_EMULATION.found(stage.head.node, stage=name, tool=tool, advice=advice)


def _is_below(state: StageState, graph: StageGraph) -> bool:
    """Whether the image that is built begins with this stage."""
    current: StageState | None = graph.goal
    while current is not None:
        if current is state:
            return True
        current = current.base
    return False


def _repository(name: str) -> str:
    """`dotnet/sdk` of mcr.microsoft.com/dotnet/sdk:8.0, `golang` of docker.io/library/golang."""
    path = name.partition("@")[0]
    path = path[: path.rindex(":")] if ":" in path.rpartition("/")[2] else path
    last_two = "/".join(path.split("/")[-2:])
    return last_two if last_two in _TOOLS else path.rpartition("/")[2]


def base_of_one_architecture(graph: StageGraph) -> Iterator[Finding]:
    """Not where FROM says the platform, or the stage's name the architecture."""
    for state in graph.reachable():
        stage = state.stage
        if stage is None or state.base is not None or stage.head.platform:
            continue
        owner, slash, rest = state.base_name.removeprefix("docker.io/").partition("/")
        name, colon, tag = state.base_name.rpartition(":")
        suffix = tag.rpartition("-")[2]
        if slash and owner in _FIXED and "/" not in rest:
            architecture, better = _FIXED[owner], rest
        elif colon and "/" not in tag and "-" in tag and suffix in KNOWN_ARCHITECTURES:
            architecture, better = suffix, f"{name}:{tag[: -len(suffix) - 1]}"
        else:
            continue
        if architecture not in stage.name:
            yield BASE_OF_ONE_ARCHITECTURE.found(
                stage.head.node, image=state.base_name, architecture=architecture, better=better
            )
