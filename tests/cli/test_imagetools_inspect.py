"""`imagetools inspect` says of a real image what real buildx said of it (goldens/imagetools)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from trimaran.cli import imagetools_inspect
from trimaran.cli.imagetools_inspect import Inspected, describe, template_data
from trimaran.cli.template import Template
from trimaran.cli.template.functions import indented_json
from trimaran.digest import Digest
from trimaran.errors import UsageError
from trimaran.oci import index as indexes
from trimaran.oci import manifest as manifests
from trimaran.oci.descriptor import Descriptor
from trimaran.oci.index import Index
from trimaran.platforms import Platform
from trimaran.reference import Reference

GOLDENS = Path(__file__).parents[1] / "goldens/imagetools"
CASES = sorted(path.stem for path in GOLDENS.glob("*.format"))


class Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, size: int = -1) -> bytes:
        data, self._data = self._data, b""
        return data


class Recorded:
    """The image's repository, from files: what `Repository` answers for these digests."""

    async def get_manifest(self, reference: str) -> tuple[Descriptor, bytes]:
        data = (GOLDENS / "documents" / reference.partition(":")[2]).read_bytes()
        return indexes.parse_any(data).descriptor, data

    def read(self, descriptor: Descriptor) -> Recorded:
        self._reader = Reader((GOLDENS / "documents" / descriptor.digest.hex).read_bytes())
        return self

    async def __aenter__(self) -> Reader:
        return self._reader

    async def __aexit__(self, *_: object) -> None:
        return None


def inspected() -> Inspected:
    index = indexes.parse((GOLDENS / "documents/index").read_bytes())

    async def load() -> Inspected:
        repository = Recorded()
        return Inspected(
            reference=Reference.parse((GOLDENS / "NAME").read_text()),
            document=index,
            configs=await imagetools_inspect._configs(repository, index),  # type: ignore[arg-type]
            statements=await imagetools_inspect._statements(repository, index),  # type: ignore[arg-type]
        )

    return asyncio.run(load())


@pytest.mark.parametrize("case", CASES)
def test_says_what_buildx_says(case: str) -> None:
    template = (GOLDENS / f"{case}.format").read_text()
    wanted = (GOLDENS / f"{case}.out").read_text()
    found = inspected()
    if template:
        assert Template(template, json=indented_json).render(template_data(found)) == wanted
    else:
        assert describe(found.reference, found.document) == wanted


def test_a_field_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(UsageError) as caught:
        Template("{{.Manifest.Digset}}").render(template_data(inspected()))
    assert caught.value.hint.startswith("did you mean Digest?")


def test_the_seeds_transcript() -> None:
    """A list without annotations: columns are as wide as its own words."""
    children = tuple(
        Descriptor(
            media_type="application/vnd.docker.distribution.manifest.v2+json",
            digest=Digest.of(name.encode()),
            size=2,
            platform=Platform("linux", name),
        )
        for name in ("arm64", "amd64")
    )
    kind = "application/vnd.docker.distribution.manifest.list.v2+json"
    document = indexes.build(children, media_type=kind)
    shown = describe(Reference.parse("registry.example/me/test:v1"), document)
    assert [line.rstrip() for line in shown.splitlines()] == [
        "Name:      registry.example/me/test:v1",
        f"MediaType: {kind}",
        f"Digest:    {document.descriptor.digest}",
        "",
        "Manifests:",
        f"  Name:      registry.example/me/test:v1@{children[0].digest}",
        "  MediaType: application/vnd.docker.distribution.manifest.v2+json",
        "  Platform:  linux/arm64",
        "",
        f"  Name:      registry.example/me/test:v1@{children[1].digest}",
        "  MediaType: application/vnd.docker.distribution.manifest.v2+json",
        "  Platform:  linux/amd64",
    ]


def test_a_single_manifest_is_its_descriptor() -> None:
    config = Descriptor(media_type="application/vnd.oci.image.config.v1+json", digest=Digest.of(b"{}"), size=2)
    document = manifests.build(config, ())
    found = Inspected(
        reference=Reference.parse("alpine"),
        document=document,
        configs=(("", b'{"architecture":"amd64","os":"linux"}'),),
    )
    render = Template("{{.Image.Architecture}} {{.Manifest.Digest}} {{json .Provenance}}").render
    assert render(template_data(found)) == f"amd64 {document.descriptor.digest} {{}}"
    assert not isinstance(document, Index)
    assert describe(found.reference, document).startswith("Name:      docker.io/library/alpine:latest\n")
