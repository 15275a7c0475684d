"""`--build-ca`: certificates that RUN steps are to trust, read and checked on this machine before anything starts."""

from __future__ import annotations

import binascii
import os
from collections.abc import Mapping, Sequence

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.errors import UsageError
from trimaran.registry import certificate
from trimaran.sources.given import Authorities
from trimaran.steps.authorities import BUNDLES

LIMIT = 4 << 20
"""Bytes of one file: all public authorities together have a quarter of a megabyte."""
_BEGIN, _END, _DASHES = "-----BEGIN ", "-----END ", "-----"
_KIND = "CERTIFICATE"


async def read(paths: Sequence[str], environment: Mapping[str, str]) -> Authorities:
    """UsageError with the line for a file that is not what it should be."""
    return await aio.in_thread(_read, tuple(paths), environment)


def _read(cancel: Cancel, paths: tuple[str, ...], environment: Mapping[str, str]) -> Authorities:
    parts = []
    for path in dict.fromkeys(paths):
        cancel.check()
        parts.append(_checked(path))
    return Authorities(given=b"".join(parts), machine=_machine(environment))


def _machine(environment: Mapping[str, str]) -> bytes:
    """What this machine trusts, b"" where it has no such file."""
    for path in (environment.get("SSL_CERT_FILE", ""), *BUNDLES):
        try:
            with open(path, "rb") as file:
                return file.read(LIMIT)
        except OSError:
            continue
    return b""


def _checked(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            raw = file.read(LIMIT + 1)
    except OSError as error:
        raise UsageError(f"read certificates {path}: {(error.strerror or str(error)).lower()}") from None
    if len(raw) > LIMIT:
        raise UsageError(f"read certificates {path}: it is larger than {LIMIT >> 20} MiB")
    if certificate.parse(raw) is not None:
        raise UsageError(
            f"read certificates {path}: it is a certificate in DER, and PEM is wanted",
            hint=f"openssl x509 -inform der -in {path} -out {os.path.splitext(path)[0]}.pem",
        )
    return certificates(raw, path)


def certificates(raw: bytes, path: str) -> bytes:
    """The certificates of a PEM file (RFC 7468) without what stands between them; UsageError with the line. Pure."""
    found: list[str] = []
    begun = 0
    body: list[tuple[int, str]] = []
    for number, text in enumerate(raw.decode("latin-1").splitlines(), start=1):
        line = text.strip()
        if line.startswith(_BEGIN):
            if begun:
                raise _wrong(path, begun, "a certificate begins here and has no end")
            _check_kind(line.removeprefix(_BEGIN).removesuffix(_DASHES), path, number)
            begun, body = number, []
        elif line.startswith(_END):
            if not begun:
                raise _wrong(path, number, "an end without a beginning")
            _check_body(body, path, begun)
            found += [f"{_BEGIN}{_KIND}{_DASHES}", *(part for _, part in body), f"{_END}{_KIND}{_DASHES}"]
            begun = 0
        elif begun:
            body.append((number, line))
    if begun:
        raise _wrong(path, begun, "a certificate begins here and has no end")
    if not found:
        raise UsageError(f"read certificates {path}: it holds no certificate", hint=_WANTED)
    return "".join(f"{line}\n" for line in found).encode()


def _check_kind(kind: str, path: str, number: int) -> None:
    if kind.endswith("PRIVATE KEY"):
        raise _wrong(path, number, "a private key, which no step may see: give the certificate alone")
    if kind != _KIND:
        raise _wrong(path, number, f"{kind!r} is no {_KIND}")


def _check_body(body: Sequence[tuple[int, str]], path: str, begun: int) -> None:
    der = b""
    for number, line in body:
        try:
            der += binascii.a2b_base64(line, strict_mode=True) if line else b""
        except binascii.Error:
            raise _wrong(path, number, "this is not base64") from None
    if certificate.parse(der) is None:
        raise _wrong(path, begun, "what begins here is no certificate")


_WANTED = "give a file of PEM certificates: -----BEGIN CERTIFICATE-----, base64, -----END CERTIFICATE-----"


def _wrong(path: str, line: int, words: str) -> UsageError:
    return UsageError(f"read certificates {path}:{line}: {words}", hint=_WANTED)
