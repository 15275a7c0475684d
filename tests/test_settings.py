"""The settings file: what it may hold, and errors that name line and nearest key."""

import os
import subprocess
import sys

import pytest

from trimaran import settings
from trimaran.errors import UsageError
from trimaran.settings import Keypair, Settings, Space

FULL = """
root = "/srv/trimaran"
cache-limit = "20GB"
[registry."docker.io"]
  mirrors = ["http://127.0.0.1:5000", "m.example/path"]
[registry."r.example:5000"]
  http = true
  insecure = true
  ca = ["/etc/ca.pem"]
  auth-realms = ["login.example"]
  [[registry."r.example:5000".keypair]]
    key = "/k"
    cert = "/c"
[worker]
  max-parallelism = 3
[worker.oci]
  gc = false
  reservedSpace = "10%"
  maxUsedSpace = 5000
  [[worker.oci.gcpolicy]]
    keepDuration = "1h30m"
    all = true
[history]
  maxAge = "48h"
[system]
  maxRegistryConcurrency = 8
"""


def test_full():
    read = settings.parse(FULL.encode(), "f.toml")
    assert read.cache_limit == Space(bytes=20 << 30)
    assert read.registry["docker.io"].mirrors == ("http://127.0.0.1:5000", "m.example/path")
    host = read.registry["r.example:5000"]
    assert (host.http, host.insecure, host.keypair) == (True, True, (Keypair("/k", "/c"),))
    assert (read.worker.max_parallelism, read.worker.gc) == (3, False)
    assert read.worker.reserved_space.resolve(100 << 30) == 11_000_000_000
    assert read.worker.gc_policies[0].keep_duration == 5400
    assert (read.history.max_age, read.max_registry_concurrency) == (172_800, 8)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[worker]\nmax-paralelism = 3", ":2: unknown key worker.max-paralelism", "max-parallelism"),
        ('[registry."a"]\n\nmirors = []', ":3: unknown key registry.a.mirors", "mirrors"),
        ('[registry."a"]\nhttp = "yes"', ":2: registry.a.http takes true or false, not 'yes'", ""),
        ('[registry."a"]\nmirrors = "x"', ":2: registry.a.mirrors takes a list of strings", ""),
        ('[[registry."a".keypair]]\nkey = "x"', ":1: a keypair has a key and a cert", ""),
        ("[grpc]\n", ":1: grpc is a setting of buildkitd only", "take it out"),
        ("[dns]\n", ":1: dns is a setting of buildkitd only", "take it out"),
        ("[worker]\nsnapshotter = 1", ":2: worker.snapshotter is a setting of buildkitd only", "take it out"),
        ("[worker.containerd]\n", ":1: worker.containerd is a setting of buildkitd only", "take it out"),
        ("[worker.oci.oci]\n", "unknown key", ""),
        ('\n\ncache-limit = "lots"', ":3: cache-limit takes bytes", ""),
        ('cache-limit = "200%"', "takes bytes", ""),
        ('[history]\nmaxAge = "1y"', ":2: history.maxAge takes seconds", ""),
        ("root = 5", ":1: root takes a string", ""),
        ('registry = "x"', "registry is a table", ""),
        ('[registry]\n"a" = 1', "registry.a is a table", ""),
        ("zzz = 1", "unknown key zzz", "known here"),
        ("root = ", "Invalid value", ""),
        ("a = 1\na = 2", "overwrite", ""),
    ],
)
def test_errors(text, message, hint):
    with pytest.raises(UsageError) as caught:
        settings.parse(text.encode(), "f.toml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("read f.toml")
    assert hint in caught.value.hint


def test_bytes_that_are_no_text():
    with pytest.raises(UsageError, match="UTF-8"):
        settings.parse(b"\xff", "f")


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("1k", 1024), ("1.5KB", 1536), ("2 MiB", 2 << 20), ("1T", 1 << 40), ("512b", 512)]
)
def test_sizes(text, size):
    assert settings.parse(f'cache-limit = "{text}"'.encode(), "f").cache_limit == Space(bytes=size)


def test_where_it_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "SYSTEM_FILE", str(tmp_path / "system.toml"))
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert settings.load(environment) == Settings()
    (tmp_path / "system.toml").write_text('root = "/system"')
    assert settings.load(environment).root == "/system"
    (tmp_path / "trimaran").mkdir()
    (tmp_path / "trimaran" / "trimaran.toml").write_text('root = "/user"')
    assert settings.load(environment).root == "/user"
    (tmp_path / "own.toml").write_text('root = "/own"')
    named = settings.load({**environment, "TRIMARAN_CONFIG": str(tmp_path / "own.toml")})
    assert (named.root, named.path) == ("/own", str(tmp_path / "own.toml"))
    with pytest.raises(UsageError, match="no such file"):
        settings.load({"TRIMARAN_CONFIG": str(tmp_path / "gone.toml")})


def test_no_file_loads_no_toml_reader(tmp_path):
    code = (
        "import sys, trimaran.settings as s; s.SYSTEM_FILE='/nowhere'; s.load({'XDG_CONFIG_HOME': '/nowhere'});"
        "sys.exit('tomllib' in sys.modules or 'difflib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ)).returncode == 0
