"""The stage itself: what the other end-to-end tests rely on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from stage.account import Account
from stage.guarded import Guarded
from stage.leaks import await_no_leaks, leaks_of
from stage.program import Trimaran
from stage.proxy import Proxy

PLATFORMS = {"amd64", "arm64", "arm/v7", "386", "ppc64le", "s390x", "mips64le"}


def raw(name: str) -> dict:
    command = ["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{name}"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def test_bases_are_in_the_registry(bases: str) -> None:
    index = raw(f"{bases}/library/alpine:latest")
    platforms = [child["platform"] for child in index["manifests"]]
    found = {"/".join(filter(None, (row["architecture"], row.get("variant", "")))) for row in platforms}
    assert {name.removesuffix("/v8") for name in found} == PLATFORMS
    assert len(raw(f"{bases}/debian:12")["manifests"]) == 2
    assert raw(f"{bases}/busybox:docker")["mediaType"].startswith("application/vnd.docker.")


def test_base_is_readable_by_other_tools(bases: str, tmp_path: Path) -> None:
    command = [
        "skopeo",
        "copy",
        "--quiet",
        "--src-tls-verify=false",
        f"docker://{bases}/busybox",
        f"oci:{tmp_path}/image:x",
    ]
    subprocess.run(command, check=True)
    bundle = tmp_path / "bundle"
    subprocess.run(["umoci", "unpack", "--image", f"{tmp_path}/image:x", str(bundle)], check=True, capture_output=True)
    root = bundle / "rootfs"
    assert (root / "bin/sh").stat().st_ino == (root / "bin/busybox").stat().st_ino
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    said = subprocess.run(["chroot", str(root), "id", "-un"], check=True, capture_output=True, text=True)
    assert said.stdout == "root\n"


def push(layout: str, image: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["skopeo", "copy", "--quiet", *options, layout, f"docker://{image}"]
    return subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **environment})


@pytest.fixture
def small_image(bases: str, tmp_path: Path) -> str:
    """An image as a layout of its own, for skopeo to push about."""
    layout = f"oci:{tmp_path}/small:x"
    command = ["skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{bases}/busybox", layout]
    subprocess.run(command, check=True)
    return layout


def test_token_registry_wants_its_user(token_registry: Guarded, small_image: str, tmp_path: Path) -> None:
    trust = tmp_path / "trust"
    trust.mkdir()
    shutil.copy(token_registry.ca, trust / "ca.crt")
    image = f"{token_registry.address}/secret/app:1"
    refused = push(small_image, image, "--dest-cert-dir", str(trust), "--dest-creds=captain:wrong")
    assert refused.returncode != 0
    assert "unauthorized" in refused.stderr.lower()
    creds = f"--dest-creds={token_registry.user}:{token_registry.password}"
    accepted = push(small_image, image, "--dest-cert-dir", str(trust), creds)
    assert accepted.returncode == 0, accepted.stderr
    assert {asked.user for asked in token_registry.tokens.asked} == {"captain"}
    assert any("repository:secret/app:pull,push" in asked.scopes for asked in token_registry.tokens.asked)
    assert push(small_image, image, creds).returncode != 0  # who does not know the authority trusts nobody


def test_basic_registry_wants_its_user(basic_registry: Guarded, small_image: str) -> None:
    image = f"{basic_registry.address}/app:1"
    assert push(small_image, image, "--dest-tls-verify=false").returncode != 0
    creds = f"--dest-creds={basic_registry.user}:{basic_registry.password}"
    accepted = push(small_image, image, "--dest-tls-verify=false", creds)
    assert accepted.returncode == 0, accepted.stderr


def test_proxy_alone_knows_names(token_registry: Guarded, proxy: Proxy, small_image: str) -> None:
    proxy.names["registry.test:443"] = token_registry.address
    creds = f"--dest-creds={token_registry.user}:{token_registry.password}"
    environment = {"HTTPS_PROXY": proxy.url, "SSL_CERT_FILE": str(token_registry.ca)}
    accepted = push(small_image, "registry.test/app:1", creds, **environment)
    assert accepted.returncode == 0, accepted.stderr
    assert set(proxy.asked) == {"registry.test:443"}


@pytest.mark.rootless
def test_account_is_ordinary_and_has_subordinate_ids(account: Account) -> None:
    assert account.uid != 0
    assert account.run(["id", "-u"]).stdout.strip() == str(account.uid)
    folder = account.folder()
    account.own(folder)
    owned = "touch it && chown 12:34 it && stat -c %u:%g it"
    said = account.run(["unshare", "--user", "--map-auto", "--map-root-user", "sh", "-c", owned], cwd=str(folder))
    assert said.stdout == "12:34\n", said.stderr
    assert (folder / "it").stat().st_uid not in (0, 12, account.uid)
    shutil.rmtree(folder)


def test_leaks_are_seen(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert leaks_of(home) == []
    process = subprocess.Popen(["sleep", "60"], env={"TRIMARAN_ROOT": str(home)})
    try:
        deadline = time.monotonic() + 5  # until it has become sleep
        while not leaks_of(home) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [line.startswith("process") for line in leaks_of(home)] == [True]
    finally:
        process.kill()
        process.wait()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(home)], check=True)
    try:
        assert any(line.startswith("mount") for line in leaks_of(home))
    finally:
        subprocess.run(["umount", str(home)], check=True)
    assert await_no_leaks(home, 1) == []


def test_program_is_installed_not_the_checkout(trimaran: Trimaran, program: Path) -> None:
    python = program.with_name("python")
    where = subprocess.run(
        [str(python), "-c", "import trimaran; print(trimaran.__file__)"],
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert "site-packages" in where.stdout


def test_program_tells_its_version(either: Trimaran) -> None:
    assert either("--version").stdout.strip()
