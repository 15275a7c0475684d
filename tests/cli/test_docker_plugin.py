"""The launcher: what docker asks of it, what it displaces and brings back, and where it sends what is not ours."""

import json
import os
import subprocess
import sys

import pytest

from trimaran.cli.docker_plugin import KEPT, Plugin, command_line, hand_over, launcher
from trimaran.errors import Conflict, Unsupported

PEER = '#!/bin/sh\necho "peer $0" "$@"\nexit 7\n'


@pytest.fixture
def home(tmp_path):
    (tmp_path / "docker").mkdir()
    return tmp_path


def plugin(home, *system):
    return Plugin({"DOCKER_CONFIG": str(home / "docker"), "HOME": str(home)}, system)


def put(path, text=PEER, mode=0o755):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def tree(folder):
    """Every path with what it is, to compare before and after."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (oct(status.st_mode), content)
    return found


def test_metadata_is_answered_by_the_launcher_alone(home):
    ours = plugin(home)
    ours.install()
    done = subprocess.run([ours.target, "docker-cli-plugin-metadata"], capture_output=True, text=True, env={"PATH": ""})
    document = json.loads(done.stdout)
    assert document["SchemaVersion"] == "0.1.0"
    assert document["Vendor"]
    assert document["Version"].startswith("v")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_launcher_runs_us_and_not_what_lies_in_the_context(home):
    """The current folder is the user's context: modules in it are not imported."""
    ours = plugin(home)
    ours.install()
    context = home / "context"
    for name in ("trimaran.py", "msgspec.py", "asyncio.py", "sitecustomize.py"):
        put(context / name, "raise SystemExit('hijacked')")
    done = subprocess.run([ours.target, "--version"], capture_output=True, text=True, cwd=context, env={"PATH": ""})
    assert done.stdout.startswith("trimaran "), done.stderr


@pytest.mark.parametrize("kind", ["none", "file", "link", "dangling"])
def test_uninstall_restores_byte_for_byte(home, kind):
    folder = home / "docker" / "cli-plugins"
    folder.mkdir()
    put(folder / "docker-compose", "other")
    if kind == "file":
        put(folder / "docker-buildx", PEER, 0o750)
    elif kind == "link":
        (folder / "docker-buildx").symlink_to(put(home / "elsewhere" / "docker-buildx"))
    elif kind == "dangling":
        (folder / "docker-buildx").symlink_to("/nowhere/docker-buildx")
    before = tree(folder)
    ours = plugin(home)
    for _ in range(3):
        ours.install()
        assert ours.installed
        assert bool(ours.displaced()) == (kind in {"file", "link"})
    assert ours.uninstall() is True
    assert tree(folder) == before
    assert ours.uninstall() is False
    assert tree(folder) == before


def test_system_buildx_is_displaced_and_not_moved(home):
    system = put(home / "usr" / "docker-buildx")
    ours = plugin(home, str(home / "none"), str(system.parent))
    ours.install()
    assert ours.displaced() == str(system)
    own = put(home / "extra" / "docker-buildx")
    (home / "docker" / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(own.parent)]}))
    assert plugin(home, str(system.parent)).displaced() == str(own)
    ours.uninstall()
    assert system.exists()


def test_a_launcher_elsewhere_is_not_what_we_displaced(home):
    """Handing over to it would come back to us, for ever."""
    other = plugin(home / "system")
    other.install()
    assert plugin(home, other.folder).displaced() == ""


def test_buildx_renewed_over_us_is_kept_by_the_next_install(home):
    ours = plugin(home)
    put(home / "docker" / "cli-plugins" / "docker-buildx", "old")
    ours.install()
    put(home / "docker" / "cli-plugins" / "docker-buildx", "new")
    with pytest.raises(Conflict):
        ours.uninstall()
    ours.install()
    ours.uninstall()
    assert (home / "docker" / "cli-plugins" / "docker-buildx").read_text() == "new"


def test_an_interrupted_install_is_mended(home):
    ours = plugin(home)
    put(home / "docker" / "cli-plugins" / "docker-buildx")
    os.replace(ours.target, ours.kept)
    ours.install()
    assert ours.displaced() == ours.kept
    os.unlink(ours.target)
    assert ours.uninstall()
    assert (home / "docker" / "cli-plugins" / "docker-buildx").read_text() == PEER


def test_docker_takes_what_we_keep_for_no_plugin():
    assert not KEPT.startswith("docker-")


def test_alias_is_set_and_taken_back(home):
    config = home / "docker" / "config.json"
    for before in ({"auths": {"x": {}}}, {"aliases": {"builder": "other", "x": "y"}}, {"aliases": {"x": "y"}}):
        config.write_text(json.dumps(before))
        plugin(home).install(alias=True)
        plugin(home).install(alias=True)
        assert json.loads(config.read_text())["aliases"]["builder"] == "buildx"
        plugin(home).uninstall()
        assert json.loads(config.read_text()) == before
    config.write_text('{"aliases": {"builder": "buildx"}}')
    plugin(home).install(alias=True)
    plugin(home).uninstall()
    assert config.read_text() == '{"aliases": {"builder": "buildx"}}'


def test_where_the_interpreter_is_gone_the_displaced_goes_on(home):
    kept = put(home / "kept with blank")
    script = put(home / "docker-buildx", launcher(("/gone/python3", ""), str(kept)))
    done = subprocess.run([script, "buildx", "a b"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (7, f"peer {kept} buildx a b\n")
    assert "Trimaran is gone (/gone/python3)" in done.stderr
    kept.unlink()
    done = subprocess.run([script, "buildx"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "install it again" in done.stderr


def test_launcher_quotes_its_paths(home):
    folder = home / "it's $HOME `here`"
    python = put(folder / "python", '#!/bin/sh\necho "$PYTHONPATH" "$@"\n')
    script = put(home / "docker-buildx", launcher((str(python), str(folder)), "/nowhere"))
    done = subprocess.run([script, "buildx", "a b"], capture_output=True, text=True, env={"PATH": "/bin:/usr/bin"})
    assert done.stdout == f"{folder} -P -m trimaran docker-buildx buildx a b\n"


def test_the_checkout_is_named_only_where_needed():
    interpreter, source = command_line()
    assert interpreter == os.path.abspath(sys.executable)
    assert source == "" or os.path.isdir(f"{source}/trimaran")


def handed_over(home, *words):
    """`hand_over` in a process of its own, since it becomes another."""
    code = (
        "import os, sys\n"
        "from trimaran.cli.docker_plugin import hand_over\n"
        "hand_over(sys.argv, dict(os.environ), 'command \"bake\"')"
    )
    environment = {**os.environ, "DOCKER_CONFIG": str(home / "docker"), "MARK": "kept"}
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment)


def test_hand_over_becomes_the_displaced(home):
    ours = plugin(home)
    put(home / "docker" / "cli-plugins" / "docker-buildx", PEER.replace("exit 7", "echo $MARK; exit 7"))
    ours.install()
    for words in (("docker-buildx", "--debug", "buildx", "bake", "a b"), ("--debug", "buildx", "bake", "a b")):
        done = handed_over(home, *words)
        assert (done.returncode, done.stdout) == (7, f"peer {ours.kept} --debug buildx bake a b\nkept\n")
        assert done.stderr == f'NOTICE: command "bake" is not Trimaran\'s: running {ours.kept}\n'


def test_hand_over_to_nobody_is_an_error(home, monkeypatch):
    monkeypatch.setattr("trimaran.cli.docker_plugin.SYSTEM_FOLDERS", ())
    monkeypatch.setattr(Plugin.__init__, "__defaults__", ((),))
    with pytest.raises(Unsupported, match='command "bake": not done') as caught:
        hand_over(["trimaran", "bake"], {"DOCKER_CONFIG": str(home / "docker")}, 'command "bake"')
    assert "install Docker's buildx" in caught.value.hint


def test_a_folder_that_cannot_be_written(home):
    (home / "docker" / "cli-plugins").write_text("a file")
    with pytest.raises(Exception, match="install plugin: .*cli-plugins"):
        plugin(home).install()
