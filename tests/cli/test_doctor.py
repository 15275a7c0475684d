"""`doctor`: its two forms and its exit code."""

import json

import pytest

from trimaran import doctor
from trimaran.cli import doctor as command
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import parse
from trimaran.doctor.machine import Finding

FINE = Finding("disk", "ok", "8 GB free")
LACK = Finding("binfmt linux/arm64", "warn", "no emulator", "sudo x --install all")
MORE = Finding("binfmt linux/arm", "warn", "no emulator", "sudo x --install all")
BROKEN = Finding("runtime", "fail", "none", "sudo y")


@pytest.mark.parametrize(
    ("findings", "code", "status"),
    [([FINE], 0, "ok"), ([FINE, LACK], 0, "warn"), ([BROKEN, LACK], 1, "fail")],
)
def test_exit_code_and_json(findings, code, status, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "run", lambda: findings)
    assert command.run(parse(command.COMMAND.flags, ["--json"], environment={}), Invocation()) == code
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == status
    assert document["findings"][0] == {
        "name": findings[0].name,
        "status": findings[0].status,
        "detail": findings[0].detail,
        "command": findings[0].command,
    }


def test_text_shows_each_command_once(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "run", lambda: [FINE, LACK, MORE])
    assert command.run(parse(command.COMMAND.flags, [], environment={}), Invocation()) == 0
    assert capsys.readouterr().out == (
        "ok    disk                8 GB free\n"
        "warn  binfmt linux/arm64  no emulator\n"
        "                          $ sudo x --install all\n"
        "warn  binfmt linux/arm    no emulator\n"
    )
