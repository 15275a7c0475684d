"""`--build-ca` as a step meets it: files in memory, and the variables by which programs find them.

Law: they are of the step alone. The files lie in /dev/shm, which is the step's own and no part of any layer, so not
even a mount point is made in the root; the variables are no part of the op, so no key and no image config has them.
The image's own files stay as they are: a mount over them would be in the way of who renews them (dpkg renames).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from trimaran.aio import Cancel
from trimaran.executor.spec import Mount, ShownFile
from trimaran.linux import paths
from trimaran.sources.given import Authorities

_FOLDER = "/dev/shm"  # noqa: S108 - the step's own, not a temporary file of ours
BUNDLE = f"{_FOLDER}/.build-ca.pem"
_APT = f"{_FOLDER}/.build-ca.apt.conf"
_WGET = f"{_FOLDER}/.build-ca.wgetrc"
VARIABLES = {
    "SSL_CERT_FILE": BUNDLE,  # OpenSSL, Go, Python, Ruby, Rust
    "CURL_CA_BUNDLE": BUNDLE,
    "REQUESTS_CA_BUNDLE": BUNDLE,
    "PIP_CERT": BUNDLE,
    "GIT_SSL_CAINFO": BUNDLE,
    "NODE_EXTRA_CA_CERTS": BUNDLE,
    "CARGO_HTTP_CAINFO": BUNDLE,
    "AWS_CA_BUNDLE": BUNDLE,
    "APT_CONFIG": _APT,  # read beside the image's own configuration
    "WGETRC": _WGET,
}
"""What each of these programs reads in place of, or beside, what the image trusts."""
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # what OpenSSL itself looks for
)
"""Where systems, and so images, keep all that they trust as one PEM file."""
_LIMIT = 4 << 20


def are_covered(mounts: Sequence[Mount]) -> bool:
    """Whether the step has something else where the files lie: a folder that is kept, or that nobody may write to."""
    return any(mount.target == _FOLDER or _FOLDER.startswith(f"{mount.target}/") for mount in mounts)


def variables(environment: Sequence[str]) -> tuple[str, ...]:
    """Those that the step's own `environment` does not set: an ENV of the image wins, as it does over proxies."""
    own = {variable.partition("=")[0] for variable in environment}
    return tuple(f"{name}={value}" for name, value in VARIABLES.items() if name not in own)


def files(cancel: Cancel, rootfs: str, authorities: Authorities) -> tuple[ShownFile, ...]:
    """What the image trusts (the client's machine, where that is nothing) and what was given, for all programs."""
    cancel.check()
    own = _trusted_by(rootfs) or authorities.machine
    separator = b"" if own.endswith(b"\n") or not own else b"\n"
    return (
        ShownFile(BUNDLE, own + separator + authorities.given),
        ShownFile(_APT, f'Acquire::https::CaInfo "{BUNDLE}";\n'.encode()),
        ShownFile(_WGET, f"ca_certificate = {BUNDLE}\n".encode()),
    )


def _trusted_by(rootfs: str) -> bytes:
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path in BUNDLES:
            try:
                fd = paths.open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
            except OSError:
                continue
            with os.fdopen(fd, "rb") as file:
                if stat.S_ISREG(os.fstat(fd).st_mode) and (content := file.read(_LIMIT)):
                    return content
    finally:
        os.close(root)
    return b""
