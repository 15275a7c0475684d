"""Completion: what may follow on a line."""

from __future__ import annotations

import pytest

from trimaran.cli import commands
from trimaran.cli.complete import Directive, complete, text

KNOWN = {"image": ["app:1", "local.test:5000/app:2"], "build": ["0a1b", "2c3d"], "builder": ["default", "trimaran"]}
FILES, NO_FILES, FOLDERS = Directive.DEFAULT, Directive.NO_FILES, Directive.FOLDERS


def answer(*words: str) -> tuple[list[str], Directive]:
    found = complete(words, KNOWN.__getitem__)
    assert found is not None
    return [each.value for each in found.candidates], found.directive


@pytest.mark.parametrize(
    ("line", "values", "directive"),
    [
        ("bu", ["build"], NO_FILES),
        ("im", ["images", "imagetools"], NO_FILES),
        ("imagetools |", ["inspect"], NO_FILES),
        ("--builder |", ["default", "trimaran"], NO_FILES),
        ("--builder trimaran bu", ["build"], NO_FILES),
        ("-D bu", ["build"], NO_FILES),
        ("build --pla", ["--platform"], NO_FILES),
        ("build --no-cache --no-c", ["--no-cache-filter"], NO_FILES),
        ("build -t a --tag", ["--tag"], NO_FILES),
        ("build -f", ["-f"], NO_FILES),
        ("build --progress raw", ["rawjson"], NO_FILES),
        ("build --progress=raw", ["rawjson"], NO_FILES),
        ("build --platform linux/amd64,linux/s", ["linux/amd64,linux/s390x"], NO_FILES),
        ("build --output type=o", ["type=oci"], NO_FILES | Directive.NO_SPACE),
        ("build --output type=local,dest=x", [], FILES),
        ("build --cache-to type=r", ["type=registry"], NO_FILES | Directive.NO_SPACE),
        ("build --cache-from=type=s", ["type=s3"], NO_FILES | Directive.NO_SPACE),
        ("build --resource cpus", ["cpus=", "cpuset-cpus=", "cpuset-mems="], NO_FILES | Directive.NO_SPACE),
        (
            "build --build-resource=memory=8g,cpus",
            ["memory=8g,cpus=", "memory=8g,cpuset-cpus=", "memory=8g,cpuset-mems="],
            NO_FILES | Directive.NO_SPACE,
        ),
        ("build --resource memory=2", [], FILES),
        ("prune --filter un", ["until=", "unused-for="], NO_FILES | Directive.NO_SPACE),
        ("du --filter in", ["inuse"], NO_FILES),
        ("build -f |", [], FILES),
        ("build --target |", [], FILES),
        ("build --no-cache=", [], FILES),
        ("build --unheard=", [], FILES),
        ("build |", [], FOLDERS),
        ("b --load |", [], FOLDERS),
        ("build . |", [], NO_FILES),
        ("build -- --pla", [], FOLDERS),
        ("run a", ["app:1"], NO_FILES),
        ("run local.test:5", ["local.test:5000/app:2"], NO_FILES),
        ("run app:1 --pla", [], FILES),
        ("run --platform linux/amd64 a", ["app:1"], NO_FILES),
        ("rmi app:1 l", ["local.test:5000/app:2"], NO_FILES),
        ("logs |", ["0a1b", "2c3d"], NO_FILES),
        ("explain 0a1b 2", ["2c3d"], NO_FILES),
        ("explain 0a1b 2c3d |", [], NO_FILES),
        ("inspect |", ["default", "trimaran"], NO_FILES),
        ("completion z", ["zsh"], NO_FILES),
        ("dockerfile parse |", [], FILES),
        ("images |", [], NO_FILES),
    ],
)
def test_what_may_follow(line: str, values: list[str], directive: Directive) -> None:
    assert answer(*line.replace("|", "").split(" ")) == (values, directive)


@pytest.mark.parametrize("line", ["nonsense |", "imagetools nonsense |", "bake --fi", "build2 |"])
def test_what_is_no_command_of_ours(line: str) -> None:
    assert complete(line.replace("|", "").split(" "), KNOWN.__getitem__) is None


@pytest.mark.parametrize("name", commands.runnable())
def test_every_flag_that_help_shows_is_offered_once(name: str) -> None:
    offered, _ = answer(*name.split(), "-")
    command = commands.command(name)
    shown = {f"--{flag.name}" for flag in command.flags if not flag.hidden and not flag.unsupported}
    assert sorted(set(offered)) == sorted(offered)
    assert shown | {"--builder", "--debug"} >= {word for word in offered if word.startswith("--")} >= shown


def test_the_answer_as_text() -> None:
    found = complete(["build", "--loa"], KNOWN.__getitem__)
    assert text(found, described=True) == '--load\tShorthand for "--output=type=docker"\n:4\n'
    assert text(found, described=False) == "--load\n:4\n"
