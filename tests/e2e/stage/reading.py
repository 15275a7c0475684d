"""Images read back by programs that are not ours: skopeo and umoci, and started by plain runc."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any


def skopeo(*words: str) -> str:
    done = subprocess.run(["skopeo", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def index_of(reference: str) -> dict[str, Any]:
    return json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{reference}"))


def config_of(source: str, *, architecture: str = "amd64", variant: str = "") -> dict[str, Any]:
    words = ["--override-arch", architecture, *(["--override-variant", variant] if variant else [])]
    return json.loads(skopeo(*words, "inspect", "--config", "--tls-verify=false", source))


def unpack(source: str, folder: Path, *, architecture: str = "amd64", variant: str = "") -> Path:
    """The root file system that umoci makes of an image (skopeo's name for it); as root, owners are the image's."""
    folder.mkdir(parents=True, exist_ok=True)
    layout = folder / "layout"
    words = ["--override-arch", architecture, *(["--override-variant", variant] if variant else [])]
    skopeo(*words, "copy", "-q", "--src-tls-verify=false", source, f"oci:{layout}:image")
    bundle = folder / "bundle"
    done = subprocess.run(
        ["umoci", "unpack", "--image", f"{layout}:image", str(bundle)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return bundle / "rootfs"


def facts(root: Path, *paths: str) -> dict[str, tuple[str, int, int, str]]:
    """path → (mode as ls shows it, uid, gid, content or link target) of `paths`, or of everything below `root`."""
    found = {}
    for path in paths or _walk(root):
        full = root / path
        status = os.lstat(full)
        text = ""
        if stat.S_ISREG(status.st_mode):
            text = full.read_bytes().decode("latin-1")
        elif stat.S_ISLNK(status.st_mode):
            text = os.readlink(full)
        found[path] = (stat.filemode(status.st_mode), status.st_uid, status.st_gid, text)
    return found


def _walk(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def start_with_runc(rootfs: Path, *words: str) -> str:
    """What the program says when plain runc starts it in the bundle that umoci made."""
    bundle = rootfs.parent
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["args"] = list(words) or config["process"]["args"]
    config["process"]["terminal"] = False
    config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] not in {"network", "user"}]
    (bundle / "config.json").write_text(json.dumps(config))
    name = f"trimaran-e2e-{os.getpid()}-{os.urandom(4).hex()}"
    done = subprocess.run(["runc", "run", "-b", str(bundle), name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
