"""A network of its own, in which nothing goes out unseen: every packet is recorded, and leads nowhere.

Loopback is as everywhere; all else is routed into a tunnel without another end, so that a look-up of a name, a
connection and its refusal are all seen.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator

from trimaran.linux import syscalls

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
ETH_P_ALL, IPV4, IPV6 = 3, 0x0800, 0x86DD
OUTGOING = 4
TCP, UDP = 6, 17
SYN, ACK = 2, 16
WAY_OUT = (
    "link set lo up",
    "link set out up",
    "address add 10.99.0.1/24 dev out",
    "route add default dev out",
    "-6 address add fd99::1/64 dev out nodad",
    "-6 route add default dev out",
)


class Connections:
    """`seen`: where somebody wanted to go, as `tcp HOST:PORT` or `udp HOST:PORT`, each once, in order."""

    def __init__(self) -> None:
        self._seen: list[str] = []
        # SOCK_DGRAM: without the link's own head; a packet of loopback comes twice, once outgoing.
        self._tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._tap.settimeout(0.1)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._record, daemon=True)
        self._thread.start()

    def taken(self) -> list[str]:
        """What was seen since the last call."""
        self._over.wait(0.15)  # packets that are on their way to us
        seen, self._seen = list(dict.fromkeys(self._seen)), []
        return seen

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._tap.close()

    def _record(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                packet, (_, kind, direction, *_) = self._tap.recvfrom(65536)
                if direction == OUTGOING and (wanted := _wanted(packet, kind)):
                    self._seen.append(wanted)


def _wanted(packet: bytes, kind: int) -> str:
    """Where a first packet of TCP or any of UDP goes; "" for others."""
    if kind == IPV4:
        protocol, host, rest = packet[9], socket.inet_ntoa(packet[16:20]), packet[(packet[0] & 15) * 4 :]
    elif kind == IPV6:
        protocol, host, rest = packet[6], f"[{socket.inet_ntop(socket.AF_INET6, packet[24:40])}]", packet[40:]
    else:
        return ""
    if protocol == UDP:
        return f"udp {host}:{struct.unpack_from('!H', rest, 2)[0]}"
    if protocol == TCP and rest[13] & (SYN | ACK) == SYN:
        return f"tcp {host}:{struct.unpack_from('!H', rest, 2)[0]}"
    return ""


@contextlib.contextmanager
def watched_network() -> Iterator[Connections]:
    """This thread, and whatever it starts, in such a network; needs root."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.unshare(syscalls.CLONE_NEWNET)
    try:
        with _tunnel(), contextlib.closing(Connections()) as connections:
            yield connections
    finally:
        syscalls.setns(before)
        os.close(before)


@contextlib.contextmanager
def _tunnel() -> Iterator[None]:
    """Loopback up, and a way out for everything else: there for as long as its descriptor is open."""
    tunnel = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(tunnel, TUNSETIFF, struct.pack("16sH22x", b"out", IFF_TUN | IFF_NO_PI))
        for words in WAY_OUT:
            subprocess.run(["ip", *words.split()], check=True)
        yield
    finally:
        os.close(tunnel)
