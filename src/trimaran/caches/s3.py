"""`type=s3`: a cache in a bucket of Amazon S3, or of what speaks like it: one config under each name, blobs beside it.

The objects are BuildKit's (cache/remotecache/s3): `PREFIX MANIFESTS_PREFIX NAME` holds the config with what a manifest
would say of each layer; `PREFIX BLOBS_PREFIX DIGEST` a blob. boto3 (the extra `s3`) speaks to the service, in threads
that nobody waits for who has no time left: it tries for minutes, and cannot be told to stop.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from trimaran import aio
from trimaran.aio import Cancel
from trimaran.caches import config as configs
from trimaran.caches.config import CacheConfig
from trimaran.caches.links import RemoteLayer
from trimaran.caches.options import Bucket, S3Export, S3Import
from trimaran.caches.sending import Sending
from trimaran.caches.signing import METADATA, Signer, signer_of
from trimaran.digest import Digest
from trimaran.errors import Corrupt, Denied, NotFound, Unavailable, Unsupported
from trimaran.events import Progress
from trimaran.oci.blobs import CHUNK, Reader, Sink
from trimaran.oci.copy import copy_blob
from trimaran.oci.descriptor import Descriptor
from trimaran.registry.client import Registry
from trimaran.sources.given import KeySource
from trimaran.sources.places import place_of
from trimaran.store.store import Store

_ATTEMPTS = 5
_TIMEOUT = 30
"""Seconds without an answer before a request is tried again."""
_DENIED = frozenset({"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"})
_MISSING = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NotFound"})


def signer(cache: S3Import | S3Export, name: str, keys: Mapping[KeySource, bytes]) -> Signer | None:
    """For its bucket and the config's key in it."""
    blobs = BucketBlobs(cache.bucket)
    return signer_of(cache.signing, f"s3:{cache.bucket.bucket}/{blobs.manifest_key(name)}", keys)


async def read_bucket(cache: S3Import, keys: Mapping[KeySource, bytes]) -> tuple[CacheConfig, list[RemoteLayer | None]]:
    """The config of that name, and its layers where they are."""
    blobs = BucketBlobs(cache.bucket)
    wanted = signer(cache, cache.name, keys)
    raw, signature = await aio.in_expendable_thread(blobs.get, blobs.manifest_key(cache.name))
    if wanted is not None:
        wanted.check(signature, Digest.of(raw), ())
    config = configs.parse(raw)
    return config, [_remote(layer, blobs) for layer in config.layers]


def _remote(layer: configs.CacheLayer, blobs: BucketBlobs) -> RemoteLayer | None:
    """None for a layer that the config does not describe."""
    if not layer.media_type or not layer.diff_id or layer.size < 0:
        return None
    descriptor = Descriptor(media_type=layer.media_type, digest=layer.blob, size=layer.size)
    return RemoteLayer(descriptor, Digest.parse(layer.diff_id), blobs)


class BucketTarget:
    """See `sending.Target`. The config is written last, under each name."""

    def __init__(
        self, export: S3Export, store: Store, registry: Registry, signers: Mapping[str, Signer | None]
    ) -> None:
        """`signers` by name."""
        self._export = export
        self._signers = signers
        self._blobs = BucketBlobs(export.bucket)
        self._store = store
        self._registry = registry

    async def put(self, blob: Descriptor) -> bool:
        if await self._blobs.has(blob):
            return False
        content = self._store.content
        source = await place_of(self._store, self._registry, blob)
        if source is not content:
            await copy_blob(blob, source, content)
        await aio.in_expendable_thread(self._blobs.put_file, blob.digest, content.path(blob.digest))
        return True

    async def write(self, config: CacheConfig, sending: Sending, progress: Progress) -> None:
        layers = [
            Descriptor(media_type=layer.media_type, digest=layer.blob, size=layer.size) for layer in config.layers
        ]
        await sending.send_all(layers, progress, parallel=self._export.upload_parallelism)
        raw = configs.encode(config)
        for name in self._export.names:
            signer = self._signers[name]
            signature = "" if signer is None else signer.sign(Digest.of(raw), ())
            with progress.task(f"writing cache manifest {name}", len(raw)) as task:
                await aio.in_expendable_thread(self._blobs.put, self._blobs.manifest_key(name), raw, signature)
                task.add(len(raw))


class BucketBlobs:
    """Blobs of a bucket, by digest. See `oci.blobs.Blobs`; written only by `put_file`, whole."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._client: Any = None

    def manifest_key(self, name: str) -> str:
        return f"{self._bucket.prefix}{self._bucket.manifests_prefix}{name}"

    def _blob_key(self, digest: Digest) -> str:
        return f"{self._bucket.prefix}{self._bucket.blobs_prefix}{digest}"

    async def has(self, descriptor: Descriptor) -> bool:
        return await aio.in_expendable_thread(self._has, descriptor)

    def _has(self, cancel: Cancel, descriptor: Descriptor) -> bool:
        cancel.check()
        key = self._blob_key(descriptor.digest)
        try:
            answer = self._ask("head", key, "head_object", Key=key)
        except NotFound:
            return False
        return bool(answer["ContentLength"] == descriptor.size)

    @asynccontextmanager
    async def read(self, descriptor: Descriptor) -> AsyncIterator[Reader]:
        body = await aio.in_expendable_thread(self._open, self._blob_key(descriptor.digest))
        try:
            yield _BucketReader(body, descriptor)
        finally:
            body.close()

    @asynccontextmanager
    async def ingest(self, media_type: str, expected: Descriptor | None = None) -> AsyncIterator[Sink]:
        raise Unsupported(f"write {media_type} into {self._bucket.bucket}: only whole files are")
        yield

    def _open(self, cancel: Cancel, key: str) -> Any:
        cancel.check()
        return self._ask("read", key, "get_object", Key=key)["Body"]

    def get(self, cancel: Cancel, key: str) -> tuple[bytes, str]:
        """A small object whole, and its signature, "" without one."""
        cancel.check()
        answer = self._ask("read", key, "get_object", Key=key)
        body = answer["Body"]
        try:
            raw: bytes = body.read(configs.LIMIT + 1)
        finally:
            body.close()
        return raw, str((answer.get("Metadata") or {}).get(METADATA, ""))

    def put(self, cancel: Cancel, key: str, raw: bytes, signature: str) -> None:
        """With its signature, in one: a reader gets both or neither."""
        cancel.check()
        more = {"Metadata": {METADATA: signature}} if signature else {}
        self._ask("write", key, "put_object", Key=key, Body=raw, **more)

    def put_file(self, cancel: Cancel, digest: Digest, path: str) -> None:
        """In parts when it is large; what was begun is taken back when that fails."""
        cancel.check()
        key = self._blob_key(digest)
        with _explained("write", self._bucket.bucket, key):
            from s3transfer.manager import TransferManager

            with TransferManager(self._open_client(), executor_cls=aio.ExpendableThreads) as manager:
                manager.upload(path, self._bucket.bucket, key).result()

    def _ask(self, verb: str, key: str, operation: str, **arguments: Any) -> Any:
        with _explained(verb, self._bucket.bucket, key):
            return getattr(self._open_client(), operation)(Bucket=self._bucket.bucket, **arguments)

    def _open_client(self) -> Any:
        """Keys that were given; else those boto3 finds, as all AWS tools do (variables, files, the machine's role)."""
        if self._client is None:
            boto3, config = _boto3()
            given = self._bucket
            self._client = boto3.session.Session().client(
                "s3",
                region_name=given.region or os.environ.get("AWS_REGION") or None,
                endpoint_url=given.endpoint_url or None,
                aws_access_key_id=given.access_key_id or None,
                aws_secret_access_key=given.secret_access_key or None,
                aws_session_token=given.session_token or None,
                config=config(
                    connect_timeout=_TIMEOUT,
                    read_timeout=_TIMEOUT,
                    retries={"max_attempts": _ATTEMPTS, "mode": "standard"},
                    s3={"addressing_style": "path"} if given.use_path_style else None,
                ),
            )
        return self._client


def _boto3() -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise Unsupported(
            "use a cache in S3: boto3 is not installed", hint="pip install 'trimaran[s3]', into the same environment"
        ) from None
    return boto3, Config


@contextmanager
def _explained(verb: str, bucket: str, key: str) -> Iterator[None]:
    """Errors of boto3 as ours: the service's own words, never a credential."""
    _boto3()
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    what = f"{verb} s3://{bucket}/{key}"
    try:
        yield
    except ClientError as error:
        answer = error.response.get("Error", {})
        code = str(answer.get("Code", ""))
        words = f"{what}: {answer.get('Message') or code}"
        if code in _MISSING:
            raise NotFound(words) from error
        raise (Denied(words) if code in _DENIED else Unavailable(words)) from error
    except (BotoCoreError, Boto3Error) as error:
        raise Unavailable(f"{what}: {error}") from error


class _BucketReader:
    """Verified: the read that reaches the end raises Corrupt unless digest and size are right."""

    def __init__(self, body: Any, descriptor: Descriptor) -> None:
        self._body = body
        self._descriptor = descriptor
        self._hasher = descriptor.digest.hasher()
        self._size = 0

    async def read(self, size: int = CHUNK) -> bytes:
        return await aio.in_expendable_thread(self._read, size)

    def _read(self, cancel: Cancel, size: int) -> bytes:
        cancel.check()
        try:
            data: bytes = self._body.read(size)
        except Exception as error:
            raise Unavailable(f"read {self._descriptor.digest}: {error}") from error
        self._hasher.update(data)
        self._size += len(data)
        wrong = self._size > self._descriptor.size or (
            not data and (self._size, Digest.of_hash(self._hasher)) != (self._descriptor.size, self._descriptor.digest)
        )
        if wrong:
            raise Corrupt(f"read {self._descriptor.digest}: the bucket holds other bytes under its name")
        return data
