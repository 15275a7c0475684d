"""Reads an archive as a stream, never seeking back, and trusts nothing in it: everything that grows has a limit.

Law: a header that cannot be read exactly is refused (Corrupt), a format that is known but not supported is named
(Unsupported); nothing is skipped silently but global PAX headers, which layers use for comments only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from trimaran.errors import Corrupt, Unsupported
from trimaran.tar import sparse
from trimaran.tar.header import (
    BLOCK,
    BLOCK_SIZE,
    CHARACTER,
    FIFO,
    FILE,
    FOLDER,
    GNU_LONG_LINK,
    GNU_LONG_NAME,
    HARDLINK,
    HEADER_ONLY,
    PAX,
    PAX_GLOBAL,
    SYMLINK,
    XATTR,
    ZERO_BLOCK,
    Header,
    decode,
)

PIECE = 1 << 20
ZEROS = 1 << 36
"""Bytes that an archive may make of next to nothing, by holes or by compression, if they are zeros: sparse files of
disks are so large, they take no room where they are written, and to hash them takes a minute or two."""
_ZEROS = bytes(PIECE)
_TYPES = frozenset({FILE, FOLDER, SYMLINK, HARDLINK, CHARACTER, BLOCK, FIFO})
_SPECIAL = frozenset({PAX, PAX_GLOBAL, GNU_LONG_NAME, GNU_LONG_LINK})
_NANOSECONDS = 1_000_000_000


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What an archive may ask of us (T37): beyond it is Corrupt."""

    entries: int = 2_000_000
    """In all; for layers also folders that no entry lists."""
    text: int = 256 << 20
    """Bytes of all names, link targets and extended attributes of a layer together."""
    steps: int = 50_000_000
    """Parts of paths that are looked at to find where a layer's names lead: half a minute."""
    extended: int = 1 << 20
    """Bytes of one PAX or GNU long-name header (Go allows as much)."""
    path: int = 4096
    name: int = 255
    size: int = 1 << 43
    """Bytes of one file."""
    holes: int = ZEROS
    """Bytes of all holes of its sparse files together."""
    links_in_a_row: int = 16
    """Extended headers before one entry."""


class Reader:
    """`next` gives entry after entry; `chunks` the data of the current one (what is left unread is skipped).

    `read(n)` gives up to n bytes and b"" only at the end. With `skip(n)`, n bytes that nobody asked for are not read,
    and sparse files are Unsupported: who skips reads by `position` and size.
    """

    __slots__ = (
        "_buffer",
        "_count",
        "_holes",
        "_left",
        "_limits",
        "_pad",
        "_pieces",
        "_position",
        "_read",
        "_skip",
        "_taken",
    )

    def __init__(
        self,
        read: Callable[[int], bytes],
        limits: Limits | None = None,
        *,
        skip: Callable[[int], None] | None = None,
    ) -> None:
        self._read = read
        self._skip = skip
        self._taken = 0
        self._limits = limits or Limits()
        self._buffer = b""
        self._position = 0
        self._left = 0
        self._pad = 0
        self._count = 0
        self._pieces: list[int] = []
        """What is left of a sparse file, the last first: bytes that are stored, holes as negative numbers."""
        self._holes = 0

    def next(self) -> Header | None:
        """The next entry, with PAX and GNU extensions applied; None at the end of the archive."""
        self._pass()
        name = link = None
        records: dict[str, bytes] = {}
        for _ in range(self._limits.links_in_a_row):
            block = self._block()
            if block is None:
                if name or link or records:
                    raise Corrupt("read archive: it ends after an extended header")
                return None
            header = decode(block)
            if header.type not in _SPECIAL:
                return self._finish(header, block, name, link, records)
            data = self._extended(header)
            if header.type == GNU_LONG_NAME:
                name = data.partition(b"\0")[0]
            elif header.type == GNU_LONG_LINK:
                link = data.partition(b"\0")[0]
            elif header.type == PAX:
                records = _parse_records(data)
        raise Corrupt("read archive: too many extended headers before one entry")

    @property
    def position(self) -> int:
        """Where in the stream we are: right after `next`, where the entry's data begins."""
        return self._taken - len(self._buffer) + self._position

    def _pass(self) -> None:
        """Leave what is left of the current entry."""
        ahead = self._left - (len(self._buffer) - self._position)
        if self._skip is not None and ahead > 0:
            self._skip(ahead)
            self._taken += ahead
            self._position = len(self._buffer)
            self._left = 0
        self._pieces = []
        for _ in self.chunks():
            pass

    def chunks(self) -> Iterator[memoryview | bytes]:
        """The rest of the current entry's data, in pieces of at most PIECE bytes; a hole comes as zeros."""
        while self._left or self._pieces:
            if self._pieces and self._pieces[-1] < 0:
                size = min(-self._pieces[-1], PIECE)
                self._drop_piece(-size)
                yield _ZEROS[:size] if size < PIECE else _ZEROS
                continue
            if self._position >= len(self._buffer):
                self._fill()
            most = self._pieces[-1] if self._pieces else self._left
            end = min(len(self._buffer), self._position + most)
            piece = memoryview(self._buffer)[self._position : end]
            self._position = end
            self._left -= len(piece)
            if self._pieces:
                self._drop_piece(len(piece))
            yield piece
        if self._pad:
            self._skip_padding()

    def _drop_piece(self, size: int) -> None:
        self._pieces[-1] -= size
        if not self._pieces[-1]:
            self._pieces.pop()

    def _skip_padding(self) -> None:
        """The last padding of an archive may be missing: some programs stop after the data, and Go takes that."""
        pad, self._pad = self._pad, 0
        while pad:
            if self._position >= len(self._buffer):
                self._more()
                if not self._buffer:
                    return
            step = min(pad, len(self._buffer) - self._position)
            self._position += step
            pad -= step

    def _more(self) -> None:
        self._buffer = self._read(PIECE)
        self._position = 0
        self._taken += len(self._buffer)

    def _fill(self) -> None:
        self._more()
        if not self._buffer:
            raise Corrupt("read archive: it ends in the middle of an entry")

    def _take(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        end = self._position + size
        if end <= len(self._buffer):
            data = self._buffer[self._position : end]
            self._position = end
            return data
        parts = [self._buffer[self._position :]]
        missing = size - len(parts[0])
        while missing:
            self._fill()
            parts.append(self._buffer[:missing])
            self._position = len(parts[-1])
            missing -= len(parts[-1])
        return b"".join(parts)

    def _block(self) -> bytes | None:
        if self._position >= len(self._buffer):
            self._more()
            if not self._buffer:  # no end blocks: Go and GNU tar take it as an end, too
                return None
        block = self._take(BLOCK_SIZE)
        return None if block == ZERO_BLOCK else block

    def _extended(self, header: Header) -> bytes:
        if header.size > self._limits.extended:
            raise Corrupt(f"read archive: an extended header of {header.size} bytes is more than allowed")
        data = self._take(header.size)
        self._take(-header.size % BLOCK_SIZE)
        return data

    def _finish(
        self, header: Header, block: bytes, name: bytes | None, link: bytes | None, records: dict[str, bytes]
    ) -> Header:
        self._count += 1
        if self._count > self._limits.entries:
            raise Corrupt(f"read archive: more than {self._limits.entries} entries")
        if name is not None or link is not None or records:
            header = _extend(header, name, link, records)
        found = sparse.of_records(header.name, records) if records else None
        if header.type == sparse.OLD:
            found = sparse.of_header(block, lambda: self._take(BLOCK_SIZE), self._limits.extended)
            header = msgspec.structs.replace(header, type=FILE)
        if header.type not in _TYPES:
            raise Unsupported(f"read archive: {header.name[:200]!r}: entry of type {header.type!r}")
        if header.type in HEADER_ONLY and header.size:
            header = msgspec.structs.replace(header, size=0)
        self._check(header)
        self._left = header.size
        self._pad = -header.size % BLOCK_SIZE
        return header if found is None else self._sparse(header, found)

    def _sparse(self, header: Header, found: sparse.Sparse) -> Header:
        """Get ready to give a sparse file, of which `header.size` bytes are stored: its header with its real size."""
        if header.type != FILE or self._skip is not None:
            raise Unsupported(
                f"read archive: {header.name[:200]!r}: a sparse file where none is read",
                hint="write the archive without --sparse",
            )
        regions = found.regions
        if regions is None:
            regions, read = sparse.before_data(self._map_block, self._limits.extended)
            self._left -= read
        name = found.name.decode("utf-8", "surrogateescape") or header.name
        header = msgspec.structs.replace(header, name=name, size=found.size)
        self._check(header)
        self._pieces = sparse.pieces(found, regions, self._left)
        self._holes += found.size - self._left
        if self._holes > self._limits.holes:
            raise Corrupt(f"read archive: {name[:200]!r}: the holes of sparse files are more than allowed")
        return header

    def _map_block(self) -> bytes:
        if self._left < BLOCK_SIZE:
            raise Corrupt("read archive: a sparse file ends in its map")
        return self._take(BLOCK_SIZE)

    def _check(self, header: Header) -> None:
        for text in (header.name, header.link):
            if "\0" in text:
                raise Corrupt(f"read archive: a NUL in the name {text[:200]!r}")
            raw = text if text.isascii() else text.encode("utf-8", "surrogateescape")
            if len(raw) > self._limits.path:
                raise Corrupt(f"read archive: a name of {len(raw)} bytes is more than the {self._limits.path} allowed")
        if len(header.name) > self._limits.name // 4:
            for part in header.name.split("/"):
                if len(part.encode("utf-8", "surrogateescape")) > self._limits.name:
                    raise Corrupt(f"read archive: {part[:80]!r}…: no file system takes a name of that length")
        if not 0 <= header.size <= self._limits.size:
            raise Corrupt(f"read archive: {header.name!r}: {header.size} bytes is out of range")


def _parse_records(data: bytes) -> dict[str, bytes]:
    """PAX records: `LENGTH key=value\\n`; the last of equal keys wins."""
    records: dict[str, bytes] = {}
    pairs: list[bytes] = []
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 12)
        digits = data[at:space] if space > at else b""
        if not digits.isdigit():
            raise Corrupt("read archive: a PAX record has no length")
        end = at + int(digits)
        equals = data.find(b"=", space + 1, end)
        if end > len(data) or equals <= space + 1 or data[end - 1 : end] != b"\n":
            raise Corrupt("read archive: a PAX record is malformed")
        key = data[space + 1 : equals].decode("utf-8", "surrogateescape")
        if key in sparse.PAIRS:
            pairs.append(data[equals + 1 : end - 1])
        else:
            records[key] = data[equals + 1 : end - 1]
        at = end
    if pairs:
        records[sparse.MAP] = b",".join(pairs)
    return records


def _extend(header: Header, name: bytes | None, link: bytes | None, records: dict[str, bytes]) -> Header:
    """The header with its extensions; PAX wins over GNU's, an empty PAX value takes nothing over."""
    changes: dict[str, object] = {}
    if name is not None:
        changes["name"] = name.decode("utf-8", "surrogateescape")
    if link is not None:
        changes["link"] = link.decode("utf-8", "surrogateescape")
    xattrs = []
    for key, value in records.items():
        if key.startswith(XATTR):
            xattrs.append((key[len(XATTR) :], value))
        elif not value:
            continue
        elif key == "path":
            changes["name"] = value.decode("utf-8", "surrogateescape")
        elif key == "linkpath":
            changes["link"] = value.decode("utf-8", "surrogateescape")
        elif key in {"uid", "gid", "size"}:
            changes[key] = _decimal(key, value)
        elif key == "mtime":
            changes["mtime"] = _time(value)
    if xattrs:
        changes["xattrs"] = tuple(sorted(xattrs))
    changed: Header = msgspec.structs.replace(header, **changes)
    return changed


def _decimal(key: str, value: bytes) -> int:
    if not value.isdigit() or len(value) > 19:
        raise Corrupt(f"read archive: PAX {key} is {value[:40]!r}")
    return int(value)


def _time(value: bytes) -> int:
    """Seconds with a fraction, in nanoseconds (POSIX: rounded towards minus infinity)."""
    whole, _, fraction = value.partition(b".")
    digits = whole.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 12 or (fraction and not fraction.isdigit()):
        raise Corrupt(f"read archive: PAX mtime is {value[:40]!r}")
    nanoseconds = int(digits) * _NANOSECONDS + int(fraction[:9].ljust(9, b"0"))
    return -nanoseconds if whole.startswith(b"-") else nanoseconds
