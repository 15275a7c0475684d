"""Reads an image from an OCI archive or a registry on this machine: config per platform, and the file tree it makes."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

OPAQUE = ".wh..wh..opq"
WHITEOUT = ".wh."
READABLE = 2000  # bytes up to which a file is kept as it is, and not as its digest
PAX_XATTR = "SCHILY.xattr."
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
TYPES = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "symlink",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
}

Tree = dict[str, dict[str, Any]]
Open = Callable[[str], IO[bytes]]  # digest -> bytes


class Image(NamedTuple):
    platform: str
    manifest: dict[str, Any]
    config: dict[str, Any]
    tree: Tree
    layers: list[list[str]]  # the names in each layer, in its order, hard links with what they lead to


@contextmanager
def archive(path: Path) -> Iterator[tuple[Open, dict[str, Any]]]:
    """An OCI archive: (open a blob, the one descriptor of its index.json)."""
    with tarfile.open(path, "r:") as file:
        members = {member.name.removeprefix("./"): member for member in file}

        def opened(digest: str) -> IO[bytes]:
            found = file.extractfile(members["blobs/" + digest.replace(":", "/")])
            assert found is not None
            return found

        index = json.load(file.extractfile(members["index.json"]))  # type: ignore[arg-type]
        yield opened, index["manifests"][0]


@contextmanager
def pushed(reference: str) -> Iterator[tuple[Open, dict[str, Any]]]:
    """An image `HOST:PORT/NAME:TAG` in a registry that speaks plain HTTP: (open a blob, descriptor)."""
    host, _, rest = reference.partition("/")
    name, _, tag = rest.rpartition(":")
    connection = http.client.HTTPConnection(host, timeout=60)

    def ask(path: str) -> http.client.HTTPResponse:
        connection.request("GET", f"/v2/{name}/{path}", headers={"Accept": ", ".join(MANIFESTS)})
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"GET {path} of {reference}: {answer.status}: {answer.read(200)!r}")
        return answer

    def opened(digest: str) -> IO[bytes]:
        connection.request("HEAD", f"/v2/{name}/manifests/{digest}", headers={"Accept": ", ".join(MANIFESTS)})
        answer = connection.getresponse()
        answer.read()
        return io.BytesIO(ask(f"{'manifests' if answer.status == 200 else 'blobs'}/{digest}").read())

    try:
        body = ask(f"manifests/{tag}").read()
        kind = json.loads(body).get("mediaType", MANIFESTS[0])
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        yield opened, {"mediaType": kind, "digest": digest, "size": len(body)}
    finally:
        connection.close()


def images(opened: Open, descriptor: dict[str, Any]) -> dict[str, Image]:
    """The images of an index, or the one of a manifest, by platform; attestations are left out."""
    document = json.load(opened(descriptor["digest"]))
    manifests = document.get("manifests")
    if manifests is None:
        image = _image(opened, document)
        return {image.platform: image}
    found: dict[str, Image] = {}
    for child in manifests:
        if child.get("platform", {}).get("os") != "unknown":
            found |= images(opened, child)
    return found


def _image(opened: Open, manifest: dict[str, Any]) -> Image:
    config = json.load(opened(manifest["config"]["digest"]))
    parts = [config.get(key) for key in ("os", "architecture", "variant")]
    if parts[1:] == ["arm64", "v8"]:  # says no more than arm64 does, and not everybody says it
        parts.pop()
    tree: Tree = {}
    layers: list[list[str]] = []
    # An image without layers may say null.
    for layer, diff_id in zip(manifest["layers"] or (), config["rootfs"]["diff_ids"] or (), strict=True):
        content = _Hashing(_unpacked(opened(layer["digest"]), layer["mediaType"]))
        with tarfile.open(fileobj=content, mode="r|") as entries:  # type: ignore[call-overload]
            layers.append(_apply(tree, entries))
        content.drain()
        if content.digest() != diff_id:
            raise ValueError(f"{layer['digest']} unpacks to {content.digest()}, the config says {diff_id}")
    return Image("/".join(filter(None, parts)), manifest, config, tree, layers)


def _content(content: IO[bytes], size: int) -> dict[str, Any]:
    if size > READABLE:
        digest = hashlib.file_digest(content, "sha256")  # type: ignore[arg-type]
        return {"size": size, "sha256": digest.hexdigest()}
    data = content.read()
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"bytes": data.hex()}


def _unpacked(blob: IO[bytes], media_type: str) -> IO[bytes]:
    if media_type.endswith("gzip"):
        return gzip.GzipFile(fileobj=blob)  # type: ignore[return-value]
    if media_type.endswith("zstd"):
        import zstandard

        return zstandard.ZstdDecompressor().stream_reader(blob, read_across_frames=True)
    return blob


class _Hashing:
    """Bytes that are hashed as they are read."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source, self._hash = source, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        return data

    def drain(self) -> None:
        while self.read(1 << 20):
            pass

    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


def _apply(tree: Tree, entries: tarfile.TarFile) -> list[str]:
    """Lay one layer over `tree`; its names. A whiteout hides only what lower layers hold, wherever it stands in its layer."""
    own: Tree = {}
    names: list[str] = []
    hidden: list[tuple[str, bool]] = []
    for member in entries:
        path = member.name.strip("/").removeprefix("./").rstrip("/")
        names.append(f"{path} = {member.linkname}" if member.islnk() else path)
        if path in ("", "."):
            continue
        parent, _, base = path.rpartition("/")
        if base == OPAQUE:
            hidden.append((parent, False))
        elif base.startswith(WHITEOUT):
            hidden.append((f"{parent}/{base.removeprefix(WHITEOUT)}".strip("/"), True))
        else:
            own[path] = _entry(member, entries, own, tree)
    for path, itself in hidden:
        _remove(tree, path, itself=itself)
    for path, entry in own.items():
        if entry["type"] != "folder" or tree.get(path, entry)["type"] != "folder":
            _remove(tree, path, itself=True)
    tree |= own
    return names


def _remove(tree: Tree, path: str, *, itself: bool) -> None:
    below = path + "/"
    for name in [name for name in tree if name.startswith(below)]:
        del tree[name]
    if itself:
        tree.pop(path, None)


def _entry(member: tarfile.TarInfo, entries: tarfile.TarFile, own: Tree, tree: Tree) -> dict[str, Any]:
    if member.islnk():
        target = member.linkname.strip("/").removeprefix("./")
        first = own.get(target) or tree[target]
        first.setdefault("links", target)
        return dict(first)
    found: dict[str, Any] = {
        "type": TYPES[member.type],
        "mode": f"{member.mode & 0o7777:04o}",
        "owner": f"{member.uid}:{member.gid}",
        "mtime": int(member.mtime),
    }
    if member.isreg():
        content = entries.extractfile(member)
        assert content is not None
        found |= _content(content, member.size)
    elif member.issym():
        found["target"] = member.linkname
    elif member.isdev():
        found["device"] = f"{member.devmajor}:{member.devminor}"
    xattrs = {
        name.removeprefix(PAX_XATTR): value.encode("utf-8", "surrogateescape").hex()
        for name, value in member.pax_headers.items()
        if name.startswith(PAX_XATTR)
    }
    return found | ({"xattrs": xattrs} if xattrs else {})
