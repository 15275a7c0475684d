"""Every rule has a page whose bad examples break it and whose good ones don't; the index is made from the table."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path

import pytest

from trimaran.dockerfile.contexts import load_dockerfile
from trimaran.dockerfile.convert import linter
from trimaran.dockerfile.graphs import stage_graphs
from trimaran.dockerfile.lint.index import index
from trimaran.dockerfile.lint.options import CheckOptions, parse_check
from trimaran.dockerfile.lint.suggest import suggest
from trimaran.dockerfile.lint.table import rules
from trimaran.errors import TrimaranError
from trimaran.graph.frontend import FrontendRequest
from trimaran.platforms import Platform

from .bridge import AMD64, FakeBridge, build, image_config

DOCS = Path(__file__).parents[2] / "docs" / "rules"
BLOCK = re.compile(r"```dockerfile\n(.*?)```", re.S)
IGNORE = re.compile(r"```dockerignore\n(.*?)```", re.S)
RULES = {rule.name: rule for rule in rules()}


def found(text, *, ignore="", check="experimental=all", platforms=(AMD64,), images=None):
    """Names of the rules a text breaks, in order; what cannot be built for another reason may still break some."""
    images = {"*": {}, "registry.test/amd64-only:latest": image_config(AMD64), **(images or {})}
    context = {".dockerignore": ignore, "src/main.c": "", "docs/index.md": ""}
    bridge = FakeBridge({"dockerfile": {"Dockerfile": text}, "context": context}, images)
    request = FrontendRequest(
        build_platform=AMD64,
        platforms=tuple(platforms),
        build_args=(("BUILDKIT_DOCKERFILE_CHECK", check),),
        subrequest="frontend.lint",
    )

    async def run():
        loaded = await load_dockerfile(request, bridge)
        checks = linter(loaded, request, None)
        with suppress(TrimaranError):
            await stage_graphs(request, loaded, bridge, checks, all_stages=True)
        return [finding.rule.name for finding in checks.findings]

    return asyncio.run(run())


def examples():
    for rule in RULES.values():
        page = (DOCS / f"{rule.page}.md").read_text()
        bad, _, good = page.partition("Good:")
        ignore = "".join(IGNORE.findall(page))
        for number, text in enumerate(BLOCK.findall(bad)):
            yield pytest.param(rule, text, ignore, True, id=f"{rule.name}-bad-{number}")
        for number, text in enumerate(BLOCK.findall(good)):
            yield pytest.param(rule, text, ignore, False, id=f"{rule.name}-good-{number}")


@pytest.mark.parametrize(("rule", "text", "ignore", "bad"), list(examples()))
def test_examples(rule, text, ignore, bad):
    platform = Platform("linux", "arm64") if rule.name == "InvalidBaseImagePlatform" else AMD64
    assert (rule.name in found(text, ignore=ignore, platforms=[platform])) == bad


def test_every_page_has_both_examples_and_every_rule_a_page():
    texts = {path.name: path.read_text() for path in DOCS.iterdir()}
    assert texts.keys() == {"README.md", *(f"{rule.page}.md" for rule in RULES.values())}
    assert texts.pop("README.md") == index(), "run python -m trimaran.dockerfile.lint.index docs/rules"
    assert [name for name, text in texts.items() if text.count("Bad:\n") != 1 or text.count("Good:\n") != 1] == []


def test_names_of_pages():
    pages = {name: rule.page for name, rule in RULES.items()}
    assert pages["JSONArgsRecommended"] == "json-args-recommended"
    assert pages["SecretsUsedInArgOrEnv"] == "secrets-used-in-arg-or-env"
    assert sum(not rule.own for rule in RULES.values()) == 22


def test_own_rules_are_silent_unless_asked_for():
    text = "FROM debian\nCOPY . .\nRUN apt-get install -y x\n"
    assert found(text, check="") == []
    assert found(text) == ["CopyBeforeInstall", "PackageCacheInLayer"]
    assert found(text, check="experimental=PackageCacheInLayer") == ["PackageCacheInLayer"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("RUN apt-get -y install x", True),
        ("RUN apt-get install -y x && rm -rf /var/lib/apt/lists/*", False),
        ("RUN <<EOF\napt-get update\napt-get install x\nrm -rf /var/lib/apt/lists/*\nEOF", False),
        ("RUN <<EOF\napt-get update\nEOF", True),
        ('RUN ["apk", "add", "--no-cache", "x"]', False),
        ('RUN ["apk", "add", "x"]', True),
        ("RUN apk --no-cache add x", False),
        ("RUN PIP_NO_CACHE_DIR=1 pip install x", False),
        ("RUN --mount=type=cache,target=/root/.cache pip3 install x", False),
        ("RUN npm ci && npm cache clean --force", False),
        ("RUN npm ci", True),
        ("RUN echo apt-get", False),
    ],
)
def test_caches_in_layers(line, told):
    assert ("PackageCacheInLayer" in found(f"FROM debian\n{line}\n")) == told


def test_caches_of_stages_that_are_thrown_away_are_nobodys_concern():
    text = "FROM debian AS build\nRUN apt-get install x\nFROM scratch\nCOPY --from=build /x /\n"
    assert "PackageCacheInLayer" not in found(text)
    assert "PackageCacheInLayer" in found("FROM debian AS low\nRUN apt-get install x\nFROM low\nUSER 1\n")


def test_what_several_platforms_find_is_told_once():
    platforms = [AMD64, Platform("linux", "arm64"), Platform("linux", "s390x")]
    text = "FROM registry.test/amd64-only AS Base\nLABEL a=$x b=$x\n"
    assert found(text, platforms=platforms, check="") == [
        "StageNameCasing",
        "InvalidBaseImagePlatform",
        "InvalidBaseImagePlatform",
        "UndefinedVar",
        "UndefinedVar",
    ]


def test_a_build_warns_with_place_and_page():
    _, bridge = build("FROM scratch AS Base\n# check=skip=LegacyKeyValueFormat\nENV a b\nMAINTAINER x\n")
    assert sorted(bridge.warnings) == [
        "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 4)",
        "StageNameCasing: Stage name 'Base' should be lowercase (line 1)",
    ]


def test_options():
    assert parse_check("") == CheckOptions()
    options = parse_check("skip=A, B;error=1;experimental=all")
    assert (options.skipped, options.experimental, options.error) == ({"A", "B"}, {"all"}, True)
    assert options.counts("C", experimental=False)
    assert not options.counts("A", experimental=False)
    assert options.counts("A", experimental=True), "skip is not for experimental rules"


@pytest.mark.parametrize(
    ("word", "known", "near"),
    [("alpah", ["alpha"], "alpha"), ("x", ["x", "y"], ""), ("abc", ["abd", "abe"], "abd"), ("abc", ["xyz"], "")],
)
def test_suggestions(word, known, near):
    assert suggest(word, known) == near


class TestSyntax:
    def test_a_newer_version_warns(self):
        _, bridge = build("# syntax=docker/dockerfile:1.99\nFROM scratch\n")
        assert bridge.warnings[0].startswith("syntax docker/dockerfile:1.99: version 1.99 is newer than")

    @pytest.mark.parametrize("tag", ["", ":1", ":1.4", ":latest", ":1.20-labs", ":master", "@sha256:" + "a" * 64])
    def test_others_don_t(self, tag):
        _, bridge = build(f"# syntax=docker/dockerfile{tag}\nFROM scratch\n")
        assert bridge.warnings == []

    def test_an_older_version_has_no_newer_flags(self):
        text = "FROM scratch\nCOPY --chmod=600 Dockerfile /\n"
        build("# syntax=docker/dockerfile:1.2\n" + text)
        build("# syntax=docker/dockerfile:1.1-labs\n" + text)
        with pytest.raises(TrimaranError, match="unknown flag: --chmod") as caught:
            build("# syntax=docker/dockerfile:1.1\n" + text)
        assert "syntax 1.2" in caught.value.hint
