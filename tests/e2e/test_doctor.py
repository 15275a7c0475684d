"""The doctor on this machine, as root and as an ordinary account; broken in a mount namespace, mended by its commands."""

from __future__ import annotations

import json
import shlex
import subprocess

import pytest


def findings(said):
    document = json.loads(said.stdout)
    return document["status"], {each["name"]: each for each in document["findings"]}


def test_this_machine_is_fit(either):
    status, found = findings(either("doctor", "--json"))
    assert status in {"ok", "warn"}
    assert {each["status"] for name, each in found.items() if not name.startswith("binfmt")} == {"ok"}
    assert "runtime" in either("doctor").stdout


@pytest.mark.root
def test_an_account_without_subordinate_ids_then_with(rootless, account, tmp_path):
    """/etc/subuid and /etc/subgid are covered in a mount namespace; the command is pasted there, as root."""
    covered = {name: tmp_path / name for name in ("subuid", "subgid")}
    for path in covered.values():
        path.write_text("somebody:100000:65536\n")
    doctor = shlex.join([*rootless.command, "doctor", "--json"])
    script = "\n".join(
        [
            *(f"mount --bind {path} /etc/{name}" for name, path in covered.items()),
            f"{doctor} >{tmp_path}/broken; echo $? >{tmp_path}/code",
            f"sh {tmp_path}/mend",
            f"{doctor} >{tmp_path}/mended",
        ]
    )
    (tmp_path / "mend").write_text(f"echo {account_line(account)} | tee -a /etc/subuid /etc/subgid\n")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], env=rootless.environment, cwd="/", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "code").read_text() == "1\n"
    broken = findings(Said(tmp_path / "broken"))[1]["subordinate ids"]
    assert broken["status"] == "fail"
    assert broken["command"] == f"echo {account_line(account)} | sudo tee -a /etc/subuid /etc/subgid"
    assert findings(Said(tmp_path / "mended"))[1]["subordinate ids"]["status"] == "ok"


class Said:
    """A file, as what a program said."""

    def __init__(self, path):
        self.stdout = path.read_text()


def account_line(account):
    import pwd

    return f"{pwd.getpwuid(account.uid).pw_name}:165536:65536"
