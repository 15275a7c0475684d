"""What editors get to know of a Dockerfile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trimaran.cli.main import main

TEXT = """# escape=\\
# the base
FROM --platform=$BUILDPLATFORM alpine AS \\
  build
RUN --mount=type=cache,target=/c <<EOF
echo $x
EOF
ONBUILD COPY --from=build "a b" ./
CMD ["a", "b"]
"""


@pytest.fixture
def dockerfile(tmp_path: Path) -> Path:
    path = tmp_path / "Dockerfile"
    path.write_text(TEXT)
    return path


def parse(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["trimaran", "dockerfile", "parse", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_json_has_every_place(dockerfile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = parse(capsys, "--format=json", str(dockerfile))
    document = json.loads(out)
    begin, run, trigger, cmd = document["instructions"]
    assert code == 0
    assert document["directives"] == [{"name": "escape", "value": "\\", "line": 1}]
    assert begin["comments"] == ["the base"]
    lines = TEXT.split("\n")
    for word in (*begin["flags"], *begin["arguments"], *run["flags"]):
        start, end = word["range"]["start"], word["range"]["end"]
        assert lines[start["line"] - 1][start["column"] : end["column"]] == word["text"]
    assert begin["range"] == {"start": {"line": 3, "column": 0}, "end": {"line": 4, "column": 7}}
    assert run["heredocs"] == [{"name": "EOF", "content": "echo $x\n", "expand": True, "chomp": False, "lines": [6, 7]}]
    assert trigger["trigger"]["name"] == "COPY"
    assert (cmd["json"], [word["text"] for word in cmd["arguments"]]) == (True, ["a", "b"])


def test_text(dockerfile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = parse(capsys, str(dockerfile))
    assert out.splitlines() == [
        "        1  # escape=\\",
        '      3-4  FROM --platform=$BUILDPLATFORM "alpine" "AS" "build"',
        '      5-7  RUN --mount=type=cache,target=/c "<<EOF"',
        "             <<EOF: lines 6-7, 8 bytes",
        '        8  ONBUILD COPY --from=build "\\"a" "b\\"" "./"',
        '        9  CMD "a" "b"',
    ]


@pytest.mark.parametrize(("text", "said"), [("FRM x\n", "did you mean FROM"), ("ENV a=1\n", "no build stage")])
def test_what_cannot_be_built_is_an_error(
    text: str, said: str, dockerfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dockerfile.write_text(text)
    code, out, err = parse(capsys, str(dockerfile))
    assert (code, out) == (1, "")
    assert said in err
    assert ">>>" in err


def test_errors_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such file" in parse(capsys, str(tmp_path / "none"))[2]
    assert "text or json" in parse(capsys, "--format", "yaml", str(tmp_path / "none"))[2]
