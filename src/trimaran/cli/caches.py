"""`--cache-from` and `--cache-to`: from csv to the typed caches of `caches/options.py` (reference §1.3, §4.4)."""

from __future__ import annotations

from typing import Any, cast

from trimaran.caches.options import (
    DEADLINE,
    TYPES,
    Bucket,
    CacheExport,
    CacheImport,
    InlineExport,
    LocalExport,
    LocalImport,
    RegistryExport,
    RegistryImport,
    S3Export,
    S3Import,
    Signing,
)
from trimaran.cli.attributes import Attributes
from trimaran.cli.units import split_csv
from trimaran.errors import UsageError
from trimaran.spelling import unknown

_NOT_YET = {"gha": "GitHub's cache service", "azblob": "Azure Blob Storage"}
_COMPRESSIONS = ("gzip", "zstd", "uncompressed")


def not_here(text: str, flag: str) -> str:
    """The type of a cache that buildx has and we have not, "" for all others."""
    if not text or _is_bare(text, flag):
        return ""
    kind = Attributes.parse(flag, text).text("type")
    return kind if kind in _NOT_YET else ""


def parse_cache_from(text: str) -> list[CacheImport]:
    """One `--cache-from`: `type=…`, or names of a registry by comma."""
    if _is_bare(text, "cache-from"):
        return [RegistryImport(_reference(name)) for name in split_csv(text)]
    attributes = Attributes.parse("cache-from", text)
    kind = _kind(attributes, "cache-from")
    cache: CacheImport
    if kind in ("registry", "inline"):  # an inline cache is read from its image
        cache = RegistryImport(
            _reference(_required(attributes, "cache-from", kind, "ref")),
            attributes.boolean("registry.insecure"),
            _signing(attributes, "cache-from"),
        )
    elif kind == "local":
        cache = LocalImport(
            src=_folder(_required(attributes, "cache-from", kind, "src")),
            tag=attributes.text("tag") or "latest",
            digest=attributes.text("digest"),
            signing=_signing(attributes, "cache-from"),
        )
    else:
        cache = S3Import(
            bucket=_bucket(attributes, "cache-from"),
            name=attributes.text("name") or "buildkit",
            signing=_signing(attributes, "cache-from"),
        )
    attributes.finish(f"type={kind}")
    return [cache]


def parse_cache_to(text: str) -> CacheExport:
    """One `--cache-to`: `type=…`, or a name of a registry."""
    if _is_bare(text, "cache-to"):
        return RegistryExport(ref=_reference(text))
    attributes = Attributes.parse("cache-to", text)
    kind = _kind(attributes, "cache-to")
    cache: CacheExport
    if kind == "registry":
        cache = RegistryExport(
            ref=_reference(_required(attributes, "cache-to", kind, "ref")),
            insecure=attributes.boolean("registry.insecure"),
            **_manifest(attributes),
        )
    elif kind == "local":
        cache = LocalExport(
            dest=_folder(_required(attributes, "cache-to", kind, "dest")),
            tag=attributes.text("tag") or "latest",
            reset=attributes.boolean("reset"),
            **_manifest(attributes),
        )
    elif kind == "inline":
        if attributes.choice("mode", ("min", "max"), "min") == "max":
            raise UsageError(
                "read --cache-to type=inline,mode=max: an image has only its own layers",
                hint="use type=registry for a cache of all steps",
            )
        attributes.refuse("sign-key", "use type=registry: a cache with a name of its own can be signed")
        cache = InlineExport()
    else:
        names = tuple(name for name in attributes.text("name").split(";") if name) or ("buildkit",)
        cache = S3Export(
            bucket=_bucket(attributes, "cache-to"),
            names=names,
            upload_parallelism=max(1, attributes.integer("upload_parallelism") or 4),
            **_shared(attributes),
        )
    attributes.finish(f"type={kind}")
    return cache


def _is_bare(text: str, flag: str) -> bool:
    if not text:
        raise UsageError(f'read --{flag} "": empty', hint="for example type=registry,ref=user/app:cache")
    return not any("=" in field for field in split_csv(text))


def _kind(attributes: Attributes, flag: str) -> str:
    kind = attributes.text("type")
    if kind in _NOT_YET:
        raise UsageError(
            f"read --{flag} type={kind}: {_NOT_YET[kind]} is not supported yet",
            hint=f"types: {', '.join(TYPES)}; $TRIMARAN_COMPAT=warn makes this a warning",
        )
    if not kind:
        raise UsageError(f"read --{flag}: type is required", hint=f"types: {', '.join(TYPES)}")
    if kind not in TYPES:
        message, hint = unknown(f"type of --{flag}", kind, TYPES)
        raise UsageError(message, hint=hint)
    return kind


def _required(attributes: Attributes, flag: str, kind: str, key: str) -> str:
    value = attributes.text(key)
    if not value:
        raise UsageError(f"read --{flag} type={kind}: {key} is required", hint=f"add {key}=…")
    return value


def _reference(text: str) -> str:
    from trimaran.reference import Reference

    return str(Reference.parse(text))


def _folder(path: str) -> str:
    """Absolute: the engine works elsewhere."""
    import os

    return os.path.abspath(path)


def _manifest(attributes: Attributes) -> dict[str, Any]:
    image_manifest = attributes.boolean("image-manifest", default=True)
    oci = attributes.boolean("oci-mediatypes", default=True)
    if image_manifest and not oci:
        raise UsageError(
            "read --cache-to image-manifest=true,oci-mediatypes=false: only OCI has image manifests with a cache in it",
            hint="add image-manifest=false",
        )
    return {"image_manifest": image_manifest, "oci_media_types": oci, **_shared(attributes)}


def _shared(attributes: Attributes) -> dict[str, Any]:
    compression = attributes.choice("compression", _COMPRESSIONS, "gzip")
    level = attributes.level(compression)
    timeout = attributes.integer("timeout")
    if timeout is not None and timeout <= 0:
        raise UsageError(f"read --cache-to timeout={timeout}: not a number of seconds", hint="for example timeout=60")
    return {
        "mode": cast("Any", attributes.choice("mode", ("min", "max"), "min")),
        "compression": cast("Any", compression),
        "level": level,
        "force_compression": attributes.boolean("force-compression"),
        "ignore_error": attributes.maybe("ignore-error"),
        "timeout": timeout or DEADLINE,
        "signing": _signing(attributes, "cache-to"),
    }


def _signing(attributes: Attributes, flag: str) -> Signing | None:
    """`sign-key=FILE` or `sign-key=env:NAME`: never the key itself, which everybody on the machine would see."""
    key, scope = attributes.text("sign-key"), attributes.text("sign-scope")
    if key:
        kind, _, variable = key.partition(":")
        if key == "env:" or (kind == "env" and "=" in variable):
            raise UsageError(f"read --{flag} sign-key={key}: no variable has that name", hint="write env:NAME")
        from trimaran.sources.given import KeySource

        return Signing(KeySource(variable=variable) if kind == "env" else KeySource(_folder(key)), scope)
    if scope:
        raise UsageError(
            f"read --{flag} sign-scope={scope}: there is no sign-key", hint="add sign-key=FILE or env:NAME"
        )
    return None


def _bucket(attributes: Attributes, flag: str) -> Bucket:
    return Bucket(
        bucket=_required(attributes, flag, "s3", "bucket"),
        region=attributes.text("region"),
        prefix=attributes.text("prefix"),
        blobs_prefix=attributes.text("blobs_prefix", "blobs/"),
        manifests_prefix=attributes.text("manifests_prefix", "manifests/"),
        endpoint_url=attributes.text("endpoint_url"),
        use_path_style=attributes.boolean("use_path_style"),
        access_key_id=attributes.text("access_key_id"),
        secret_access_key=attributes.text("secret_access_key"),
        session_token=attributes.text("session_token"),
    )
