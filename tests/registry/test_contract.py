"""The repository as a place with content: the suite of all places, against the real and the faulty registry."""

import asyncio

import pytest

from contracts import blobs as contract
from trimaran.testing.registry import FaultyRegistry


@pytest.mark.parametrize("check", contract.ALL, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", ["docker-registry", "faulty"])
def test_contract(check, kind, real_registry, make_client):
    async def main(host):
        async with make_client() as client:
            await check(client.repository(f"{host}/contract/{check.__name__}:v1"))

    if kind == "docker-registry":
        asyncio.run(main(real_registry))
    else:
        with FaultyRegistry() as server:
            asyncio.run(main(server.host))
