"""`settings`: each value with who said so, and no password in any."""

import json
from pathlib import Path

import pytest

from trimaran import settings
from trimaran.engine.effective import DEFAULT, effective

TEXT = """root = "/srv/trimaran"
[registry."r.example:5000"]
http = true
auth-realms = ["login.example"]
[worker.oci]
max-parallelism = 3
[worker]
gc = false
[history]
maxAge = "90m"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "trimaran.toml"
    path.write_text(TEXT)
    return path


def _of(file: Path | None, monkeypatch, **environment: str) -> dict[str, tuple[str, str]]:
    monkeypatch.delenv("TRIMARAN_ROOT", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    environment = {"HOME": "/nowhere", **environment}
    loaded = settings.load({"TRIMARAN_CONFIG": str(file)}) if file else settings.Settings()
    return {one.key: (one.value, one.source) for one in effective(loaded, environment)}


def test_the_line_of_the_file_that_said_it(file, monkeypatch):
    found = _of(file, monkeypatch)
    assert found["root"] == ("/srv/trimaran", f"{file}:1")
    assert found['registry."r.example:5000".http'] == ("true", f"{file}:3")
    assert found['registry."r.example:5000".auth-realms'] == ("login.example", f"{file}:4")
    assert found["worker.max-parallelism"] == ("3", f"{file}:6")
    assert found["worker.gc"] == ("false", f"{file}:8")
    assert found["history.maxAge"] == ("5400s", f"{file}:10")
    assert found["history.maxEntries"] == ("50", DEFAULT)


def test_the_variable_that_stands_in(file, monkeypatch):
    found = _of(file, monkeypatch, TRIMARAN_ROOT="/elsewhere", TRIMARAN_RUNTIME="runc", DOCKER_CONFIG="/d")
    assert found["root"] == ("/elsewhere", "$TRIMARAN_ROOT")
    assert found["worker.binary"] == ("runc", "$TRIMARAN_RUNTIME")
    assert found["credentials"] == ("/d/config.json", "$DOCKER_CONFIG")


@pytest.mark.parametrize("value", ["http://user:hunter2@proxy.example:3128", "user:hunter2@proxy.example:3128"])
def test_no_password_of_a_proxy(monkeypatch, value):
    found = _of(None, monkeypatch, http_proxy=value)
    shown, source = found["http_proxy"]
    assert "proxy.example:3128" in shown
    assert source == "$http_proxy"
    assert "hunter2" not in str(found)


def test_docker_s_files_where_ours_is_silent(monkeypatch, tmp_path):
    folder = tmp_path / "docker"
    folder.mkdir()
    written = folder / "daemon.json"
    written.write_text(json.dumps({"registry-mirrors": ["https://m.example"], "insecure-registries": ["10.0.0.0/8"]}))
    found = _of(None, monkeypatch, XDG_CONFIG_HOME=str(tmp_path))
    assert found['registry."docker.io".mirrors'] == ("https://m.example", str(written))
    assert found['registry."10.0.0.0/8".insecure'] == ("true", str(written))
