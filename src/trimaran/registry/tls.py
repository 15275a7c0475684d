"""TLS to a server: whom it trusts, and when it trusts nobody, whose certificate that was, and what is wrong with it.

Law: as in `sockets.py`; a certificate that is refused is `CertificateRefused`, and nothing was sent.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from trimaran.errors import TrimaranError, UsageError
from trimaran.registry.certificate import Certificate, parse
from trimaran.registry.errors import TRUST, CertificateRefused, ConnectFailed, NotHttp
from trimaran.registry.sockets import CONNECT_PATIENCE, RECEIVE, STALL_PATIENCE, PlainStream, broken, reason

if TYPE_CHECKING:
    from trimaran.registry.http import Trust

_LOOK_PATIENCE = 3.0
#: X509_V_ERR_… of OpenSSL's x509_vfy.h.
_NOT_YET_VALID, _EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 9, 10, 62, 64
_NAMES_SHOWN = 5


class TlsStream:
    __slots__ = ("_reader", "_what", "_writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, what: str) -> None:
        self._reader = reader
        self._writer = writer
        self._what = what

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        try:
            self._writer.write(data)
            async with asyncio.timeout(STALL_PATIENCE):
                await self._writer.drain()
        except OSError as error:
            raise broken(self._what, error) from error

    async def receive(self, size: int = RECEIVE) -> bytes:
        try:
            async with asyncio.timeout(STALL_PATIENCE):
                return await self._reader.read(size)
        except OSError as error:
            raise broken(self._what, error) from error

    def certificate(self) -> bytes:
        """The server's, in DER; b"" when it showed none."""
        return self._writer.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""

    def usable(self) -> bool:
        return not (self._reader.at_eof() or self._reader.exception() or self._writer.is_closing())

    def close(self) -> None:
        self._writer.transport.abort()


async def secure(
    plain: PlainStream,
    context: object,
    server_hostname: str,
    what: str,
    again: Callable[[], Awaitable[PlainStream]],
) -> TlsStream:
    """TLS over a connected socket; no TLS at the other end is NotHttp.

    CertificateRefused says whose certificate it was: it is looked at on another connection, which `again` makes.
    """
    assert isinstance(context, ssl.SSLContext)
    try:
        return await _secured(plain, context, server_hostname, what)
    except ssl.SSLCertVerificationError as error:
        message = error.verify_message.rstrip(".")
        words = f"{what}: certificate refused: {message}"
        seen = await _looked_at(again, server_hostname)
        told, hint = _told(error.verify_code, seen) if seen is not None else ("", "")
        refused = CertificateRefused(words + told, hint=hint or TRUST)
        refused.untrusted = not hint
        raise refused from error
    except ssl.SSLError as error:
        raise NotHttp(f"{what}: no TLS there: {(error.reason or str(error)).lower()}") from error
    except OSError as error:
        words = "no answer" if isinstance(error, TimeoutError) else reason(error)
        raise ConnectFailed(f"{what}: TLS handshake: {words}") from error


async def _secured(plain: PlainStream, context: ssl.SSLContext, server_hostname: str, what: str) -> TlsStream:
    connected = plain.detach()
    try:
        async with asyncio.timeout(CONNECT_PATIENCE):
            reader, writer = await asyncio.open_connection(
                sock=connected, ssl=context, server_hostname=server_hostname, limit=RECEIVE
            )
    except BaseException:
        connected.close()
        raise
    return TlsStream(reader, writer, what)


async def _looked_at(again: Callable[[], Awaitable[PlainStream]], server_hostname: str) -> Certificate | None:
    """What was refused, without judging it; nothing is sent on that connection. None when it cannot be had."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with suppress(OSError, TimeoutError, TrimaranError):
        async with asyncio.timeout(_LOOK_PATIENCE):
            stream = await _secured(await again(), context, server_hostname, "")
            try:
                return parse(stream.certificate())
            finally:
                stream.close()
    return None


def _told(code: int, seen: Certificate) -> tuple[str, str]:
    """What to add to OpenSSL's words, and what to do where it is not a matter of trust."""
    now = datetime.now(UTC)
    signer = f"signed by {seen.issuer}" if seen.issuer else "it names no signer"
    if code == _EXPIRED and seen.ends < now:
        words = f": that of {seen.subject} was valid until {_minute(seen.ends)} ({signer})"
        return words, "the server needs a new one; if it is newer than that, this machine's clock is wrong"
    if code == _NOT_YET_VALID and seen.begins > now:
        words = f": that of {seen.subject} is valid from {_minute(seen.begins)} on ({signer})"
        return words, f"this machine's clock says {_minute(now)}: is it right?"
    if code in (_EXPIRED, _NOT_YET_VALID):
        return f": not that of {seen.subject}, but one that it is {signer}", ""
    if code in (_OTHER_HOST, _OTHER_ADDRESS):
        more = f" and {len(seen.names) - _NAMES_SHOWN} more" if len(seen.names) > _NAMES_SHOWN else ""
        names = ", ".join(seen.names[:_NAMES_SHOWN]) + more
        return f": it is for {names or seen.subject or 'nobody'} ({signer})", "use one of its names, or mend the server"
    return (f" (it is {signer})" if seen.issuer else ""), ""


def _minute(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC")


def tls_context(trust: Trust) -> object:
    """An `ssl.SSLContext` of the system's trust store (SSL_CERT_FILE and SSL_CERT_DIR obeyed) and `trust`."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    try:
        for path in trust.ca:
            name = path
            context.load_verify_locations(cafile=path)
        for pair in trust.keypairs:
            name = pair.cert
            context.load_cert_chain(pair.cert, pair.key)
    except (OSError, ssl.SSLError) as error:
        words = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error)
        raise UsageError(f"read certificate {name}: {words.lower()}") from None
    if trust.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
