"""`imagetools inspect`: what a name stands for at its registry, in buildx's words (reference §6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from trimaran.cli.columns import align
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import BUILDER, DEBUG, Command, Example, Flag, Values
from trimaran.cli.records import DESCRIPTOR, IMAGE, INDEX, record
from trimaran.cli.template import Record, Template, Value

if TYPE_CHECKING:
    from trimaran.oci.descriptor import Descriptor
    from trimaran.oci.index import Index
    from trimaran.oci.manifest import Manifest
    from trimaran.reference import Reference
    from trimaran.registry.repository import Repository

COMMAND = Command(
    name="inspect",
    summary="Show details of an image in the registry",
    usage="imagetools inspect [OPTIONS] NAME",
    flags=(
        BUILDER,
        DEBUG,
        Flag(name="format", help="Format the output using the given Go template"),
        Flag(name="raw", kind="bool", help="Show original, unformatted JSON manifest"),
    ),
    arguments=(1, 1),
    completes="image",
    examples=(
        Example("The platforms of an image:", "imagetools inspect alpine"),
        Example("Its digest alone:", "imagetools inspect --format '{{.Manifest.Digest}}' alpine"),
        Example("A platform's configuration:", "imagetools inspect --format '{{json .Image}}' alpine"),
    ),
)
_ATTESTATION = "attestation-manifest"
_REFERENCE_TYPE = "vnd.docker.reference.type"
_REFERENCE_DIGEST = "vnd.docker.reference.digest"
_STATEMENT_LIMIT = 40 << 20


class Inspected(msgspec.Struct, frozen=True, kw_only=True):
    """What was read: the document behind the name, and per platform its raw image config and statements."""

    reference: Reference
    document: Manifest | Index
    configs: tuple[tuple[str, bytes], ...] = ()
    statements: tuple[tuple[str, bytes], ...] = ()


def run(values: Values, invocation: Invocation) -> int:
    import asyncio

    template = values.text("format")
    # Parsed before anything is asked of the network: a typing error costs no round trip.
    prepared = None if template in {"", "{{.Manifest}}"} else _template(template)
    inspected = asyncio.run(load(values.arguments[0], template=template, raw=values.boolean("raw")))
    if values.boolean("raw"):
        invocation.out_bytes(inspected.document.raw)
    elif prepared is None:
        invocation.out(describe(inspected.reference, inspected.document))
    else:
        invocation.out(prepared.render(template_data(inspected)))
    return 0


def _template(text: str) -> Template:
    from trimaran.cli.template.functions import indented_json

    return Template(text, json=indented_json)


async def load(name: str, *, template: str, raw: bool) -> Inspected:
    """Read what the template needs and no more; everything is verified by digest."""
    from trimaran import settings
    from trimaran.oci.index import parse_any
    from trimaran.reference import Reference
    from trimaran.registry.client import Registry

    reference = Reference.parse(name)
    async with Registry(settings.load()) as registry:
        repository = registry.repository(reference)
        descriptor, data = await repository.get_manifest(reference.digest or reference.tag)
        document = parse_any(data, descriptor.media_type)
        if raw or template in {"", "{{.Manifest}}", "{{json .Manifest}}"}:
            return Inspected(reference=reference, document=document)
        attested = "Provenance" in template or "SBOM" in template
        return Inspected(
            reference=reference,
            document=document,
            configs=await _configs(repository, document),
            statements=await _statements(repository, document) if attested else (),
        )


async def _configs(repository: Repository, document: Manifest | Index) -> tuple[tuple[str, bytes], ...]:
    """Per platform the raw image config; one, under "", of a single manifest."""
    from trimaran import aio
    from trimaran.oci.blobs import read_all
    from trimaran.oci.manifest import Manifest, parse

    async def read(name: str, descriptor: Descriptor) -> tuple[str, bytes]:
        _, raw = await repository.get_manifest(descriptor.digest)
        return name, await read_all(repository, parse(raw, descriptor.media_type).config)

    if isinstance(document, Manifest):
        return (("", await read_all(repository, document.config)),)
    wanted = [(str(child.platform), child) for child in images(document)]
    return tuple(await aio.all_of([read(name, child) for name, child in wanted]))


def images(index: Index) -> list[Descriptor]:
    """The children that are images of a platform, attestations left out."""
    return [child for child in index.manifests if child.platform and child.annotation(_REFERENCE_TYPE) != _ATTESTATION]


async def _statements(repository: Repository, document: Manifest | Index) -> tuple[tuple[str, bytes], ...]:
    """Per platform the in-toto statements attached to its manifest."""
    from trimaran.oci import media_types
    from trimaran.oci.blobs import read_all
    from trimaran.oci.manifest import Manifest, parse

    if isinstance(document, Manifest):
        return ()
    names = {str(child.digest): str(child.platform) for child in images(document)}
    found = []
    for child in document.manifests:
        platform = names.get(child.annotation(_REFERENCE_DIGEST), "")
        if child.annotation(_REFERENCE_TYPE) != _ATTESTATION or not platform:
            continue
        _, raw = await repository.get_manifest(child.digest)
        layers = [layer for layer in parse(raw, child.media_type).layers if layer.media_type == media_types.IN_TOTO]
        found += [(platform, await read_all(repository, layer, limit=_STATEMENT_LIMIT)) for layer in layers]
    return tuple(found)


def describe(reference: Reference, document: Manifest | Index) -> str:
    """buildx's text: name, media type, digest, and of an index each manifest."""
    from trimaran.oci.manifest import Manifest

    descriptor = document.descriptor
    head = f"Name:\t{reference}\nMediaType:\t{descriptor.media_type}\nDigest:\t{descriptor.digest}\n"
    if isinstance(document, Manifest):
        return align(head)
    body: list[str] = []
    for child in document.manifests:
        if body:
            body.append("\t\n")
        pinned = f"{reference.name}{':' + reference.tag if reference.tag else ''}@{child.digest}"
        body.append(f"  Name:\t{pinned}\n  MediaType:\t{child.media_type}\n")
        platform = child.platform
        if platform is None:
            continue
        rows = [("Platform", str(platform)), ("OSVersion", platform.os_version)]
        rows += [("OSFeatures", ", ".join(platform.os_features)), ("URLs", ", ".join(child.urls))]
        body.extend(f"  {name}:\t{text}\n" for name, text in rows if text)
        if child.annotations:
            pairs = "".join(f"    {key}:\t{value}\n" for key, value in sorted(child.annotations))
            body.append("  Annotations:\t\n" + align(pairs))
    return align(f"{head}\t\nManifests:\t\n") + align("".join(body))


def template_data(inspected: Inspected) -> Record:
    document = inspected.document
    manifest = _manifest(inspected)
    loaded = {name: record(IMAGE, _object(raw)) for name, raw in inspected.configs}
    image: Value = loaded.get("") if set(loaded) == {""} else dict(loaded)
    provenance, sbom = _attested(inspected)
    name = str(inspected.reference)
    return Record(
        "tplInputs",
        {"Name": name, "Manifest": manifest, "Image": image, "Provenance": provenance, "SBOM": sbom},
        {"name": name, "manifest": manifest, "image": image} if image else {"name": name, "manifest": manifest},
        text=describe(inspected.reference, document),
    )


def _object(raw: bytes) -> dict[str, Any]:
    value: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
    return value


def _manifest(inspected: Inspected) -> Record:
    """An index with what it says, a single manifest as its descriptor (with the annotations of neither lost)."""
    from trimaran.oci.manifest import Manifest

    document = inspected.document
    descriptor = document.descriptor
    fields = {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size}
    text = describe(inspected.reference, document)
    if isinstance(document, Manifest):
        made = record(DESCRIPTOR, fields)
    else:
        made = record(INDEX, {**_object(document.raw), **fields})
    made.text = text
    return made


def _attested(inspected: Inspected) -> tuple[Value, Value]:
    """`.Provenance` and `.SBOM`: {SLSA} and {SPDX, AdditionalSPDXs}, by platform where there are several."""
    from trimaran.oci.manifest import Manifest

    provenance: dict[str, Value] = {}
    bills: dict[str, list[Value]] = {}
    for platform, raw in inspected.statements:
        statement = _object(raw)
        kind, predicate = str(statement.get("predicateType", "")), _sorted(statement.get("predicate"))
        if kind.startswith("https://slsa.dev/provenance/"):
            provenance[platform] = Record("Provenance", {"SLSA": predicate}, {"SLSA": predicate})
        elif kind.startswith("https://spdx.dev/Document"):
            bills.setdefault(platform, []).append(predicate)
    sbom: dict[str, Value] = {}
    for platform, found in bills.items():
        json: dict[str, Value] = {"SPDX": found[0]}
        if len(found) > 1:
            json["AdditionalSPDXs"] = found[1:]
        sbom[platform] = Record("SBOM", {"SPDX": found[0], "AdditionalSPDXs": found[1:]}, json)
    document = inspected.document
    several = not isinstance(document, Manifest) and len(images(document)) > 1
    return (provenance, sbom) if several else (_only(provenance), _only(sbom))


def _only(found: dict[str, Value]) -> Value:
    return next(iter(found.values()), {})


def _sorted(value: Any) -> Value:
    """Keys in order, as Go writes maps."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value  # type: ignore[no-any-return]  # what JSON decodes to: a scalar
