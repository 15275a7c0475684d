"""Keywords come to the same options as flags do, and wrong ones are refused by name before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trimaran.builders.options import (
    AgentSource,
    Annotation,
    BuildContext,
    BuildOptions,
    Compression,
    HostIP,
    ImageOutput,
    LocalOutput,
    Resources,
    SecretSource,
    TarOutput,
    Ulimit,
)
from trimaran.caches.options import InlineExport, LocalExport, LocalImport
from trimaran.cli.build_flags import COMMAND
from trimaran.cli.build_options import build_options as options_of_flags
from trimaran.cli.options import parse
from trimaran.errors import UsageError
from trimaran.graph.state import image, local, scratch
from trimaran.library.options import BuildKeywords, build_options
from trimaran.linux.limits import Limits
from trimaran.platforms import Platform
from trimaran.platforms import default as host

SAME: list[tuple[list[str], dict[str, Any]]] = [
    (["--platform", "linux/amd64,linux/arm/v7"], {"platforms": ["linux/amd64", Platform("linux", "arm", "v7")]}),
    (["--platform", "local"], {"platforms": "local"}),
    (["-t", "a", "-t", "b:c"], {"tags": ["a", "b:c"]}),
    (
        ["-t", "a", "--push", "--load", "--pull", "--no-cache"],
        {"tags": "a", "push": True, "load": True, "pull": True, "no_cache": True},
    ),
    (["-o", "type=image,name=x"], {"outputs": ImageOutput(names=("x",))}),
    (["-o", "out", "-o", "type=tar,dest=x"], {"outputs": [LocalOutput(dest="out"), TarOutput(dest="x")]}),
    (["-f", "x", "--target", "t"], {"file": Path("x"), "target": "t"}),
    (["--build-arg", "A=1", "--build-arg", "B"], {"build_args": {"A": "1", "B": None}}),
    (["--build-context", "x=docker-image://y"], {"build_contexts": {"x": "docker-image://y"}}),
    (["--label", "a=b"], {"labels": {"a": "b"}}),
    (["--annotation", "a=b"], {"annotations": {"a": "b"}}),
    (["--annotation", "index:a=b"], {"annotations": [Annotation("index", None, "a", "b")]}),
    (["--secret", "id=a,src=b"], {"secrets": {"a": Path("b")}}),
    (["--ssh", "default"], {"ssh": "default"}),
    (["--build-ca", "a.pem", "--build-ca", "b.pem"], {"build_ca": ["a.pem", Path("b.pem")]}),
    (["--build-ca", "a.pem"], {"build_ca": "a.pem"}),
    (["--ssh", "a=b,c"], {"ssh": {"a": ["b", Path("c")]}}),
    (["--no-cache-filter", "a,b"], {"no_cache_filter": ["a", "b"]}),
    (["--network", "none", "--shm-size", "1m"], {"network": "none", "shm_size": 1 << 20}),
    (["--add-host", "a:1.2.3.4", "--add-host", "a:[::1]"], {"add_hosts": {"a": ["1.2.3.4", "[::1]"]}}),
    (["--lock", "x", "--locked", "--offline"], {"lock": Path("x"), "locked": True, "offline": True}),
    (["--context-mode", "git", "--fail-on-miss=a"], {"context_mode": "git", "fail_on_miss": "a"}),
    (
        ["--cache-from", "type=local,src=/a", "--cache-to", "type=inline"],
        {"cache_from": [LocalImport(src="/a")], "cache_to": [InlineExport()]},
    ),
    (["--reproducible"], {"reproducible": True}),
    (
        ["--jobs", "3", "--resource", "memory=2g"],
        {"resources": Resources(jobs=3, limits=Limits(memory=2 << 30))},
    ),
    (["--locked"], {"locked": True}),
    (["--allow", "network.host"], {"allow": "network.host"}),
    (["--ulimit", "nofile=1:2", "--cgroup-parent", "x"], {"ulimits": [Ulimit("nofile", 1, 2)], "cgroup_parent": "x"}),
]


@pytest.mark.parametrize(("flags", "keywords"), SAME)
def test_keywords_are_the_flags(flags: list[str], keywords: dict[str, Any]) -> None:
    assert set(keywords) <= set(BuildKeywords.__annotations__)
    assert build_options(".", keywords)[0] == options_of_flags(parse(COMMAND.flags, [*flags, "."], environment={}), {})


def test_every_keyword_is_tried_above_or_below() -> None:
    tried = {name for _, keywords in SAME for name in keywords} | {"dockerfile"}
    assert tried == set(BuildKeywords.__annotations__)


def test_what_only_a_program_can_say() -> None:
    options, values = build_options(Path("x"), {"dockerfile": "FROM scratch", "secrets": {"a": b"\0", "b": Path("c")}})
    assert options == BuildOptions(context="x", dockerfile=b"FROM scratch", secrets=(SecretSource("b", "c"),))
    assert values == {"a": b"\0"}
    assert b"\0" not in repr(options).encode()
    nothing, _ = build_options(".", {"tags": None, "platforms": None})
    assert nothing == BuildOptions(context=".")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"platforms": "linux/amd46"}, "did you mean|amd46"),
    ({"tags": ["A"]}, "invalid tag"),
    ({"push": "yes"}, "push"),
    ({"shm_size": "1m"}, "shm_size"),
    ({"network": "bridge"}, "network"),
    ({"outputs": "type=tar"}, "outputs"),
    ({"outputs": TarOutput(dest="-")}, "standard output"),
    ({"file": "-"}, "standard input"),
    ({"file": "x", "dockerfile": "FROM x"}, "both a text and the file"),
    ({"secrets": {"a": "text"}}, "neither bytes nor a path"),
    ({"secrets": {"a": b"x" * (500 << 10) + b"x"}}, "larger than"),
    ({"no_cache": True, "no_cache_filter": "a"}, "cannot currently be used together"),
    ({"add_hosts": {"a": "b"}}, "invalid IP address"),
    ({"allow": "network.hsot"}, "entitlement"),
    ({"resources": Resources(jobs=-1)}, "jobs=-1"),
    ({"resources": Resources(limits=Limits(memory=64))}, "limits.memory=64: no step can start in 64 bytes"),
    ({"resources": Resources(build_limits=Limits(memory=1 << 70))}, "build_limits.memory=.*no machine has so much"),
    ({"resources": Resources(limits=Limits(cpu_period=5))}, "limits.cpu_period=5: it is microseconds, from 1000"),
    ({"resources": Resources(limits=Limits(cpuset_cpus="../x"))}, "not a list of numbers"),
    ({"outputs": ImageOutput(compression=Compression("zstd", 23))}, "compression-level=23: zstd has 0 to 22"),
    ({"cache_to": [InlineExport(), LocalExport(dest="x", level=10)]}, "compression-level=10: gzip has 0 to 9"),
]


@pytest.mark.parametrize(("keywords", "message"), WRONG)
def test_wrong_values_are_named(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_options(".", keywords)


def test_unknown_keywords_are_named() -> None:
    with pytest.raises(TypeError, match='"platform".*did you mean platforms'):
        build_options(".", {"platform": "linux/amd64"})
    with pytest.raises(UsageError, match="standard input"):
        build_options("-", {})


def test_types_that_keywords_come_to() -> None:
    options, _ = build_options(".", {"ssh": ["a"], "build_contexts": {"a": Path("b")}, "add_hosts": {"a": "::1"}})
    assert options.agents == (AgentSource("a"),)
    assert options.build_contexts == (BuildContext("a", "b"),)
    assert options.add_hosts == (HostIP("a", "::1"),)


def test_graphs_and_what_can_be_said_of_them() -> None:
    made, _ = build_options(image("alpine").run("a"), {"tags": "x", "no_cache": True})
    assert (made.context, made.no_cache, [graph.platform for graph in made.graphs]) == ("", True, [host()])
    both, _ = build_options(lambda platform: image("a", platform=platform), {"platforms": ["linux/arm64", "local"]})
    assert [graph.platform for graph in both.graphs] == [Platform("linux", "arm64"), host()]
    copied, _ = build_options(image("a").copy(local("here"), "x", "/"), {})
    assert copied.folders == (("here", str(Path("here").absolute())),)
    with pytest.raises(UsageError, match="target is about Dockerfiles"):
        build_options(image("a"), {"target": "x"})
    with pytest.raises(UsageError, match="it is for linux/s390x"):
        build_options(image("a", platform="linux/s390x"), {"platforms": ["linux/arm64"]})
    with pytest.raises(UsageError, match="empty"):
        build_options(scratch(), {})
    with pytest.raises(UsageError, match="it is no context"):
        build_options(42, {})  # type: ignore[arg-type]


def test_every_option_is_offered_or_is_the_command_lines_alone() -> None:
    """Whoever adds an option gives it a keyword in `library/options.py`, too."""
    command_line = {"iidfile", "metadata_file", "progress", "builder", "debug", "call"}
    ours = {"context", "graphs", "folders"}
    named = {"agents": "ssh"}
    fields = {named.get(name, name) for name in BuildOptions.__struct_fields__} - command_line - ours
    assert fields == set(BuildKeywords.__annotations__)
