"""From options to a request: what the flags come to."""

from __future__ import annotations

import json

import pytest

from trimaran.builders.context import BuildInputs
from trimaran.builders.options import BuildOptions, Call, DockerOutput, HostIP, ImageOutput, LocalOutput, OciOutput
from trimaran.builders.plan import build_request
from trimaran.errors import UsageError
from trimaran.platforms import Platform

HOST = Platform("linux", "amd64")
INPUTS = BuildInputs("/ctx", "/ctx", "Dockerfile")


def request(environment=None, **options):
    return build_request(BuildOptions(context=".", **options), INPUTS, HOST, environment or {})


def test_without_an_output_the_image_stays_in_the_store():
    assert request(tags=("a",)).outputs == (ImageOutput(),)


def test_push_adds_an_image_or_pushes_those_there_are():
    assert request(push=True, tags=("a",)).outputs == (ImageOutput(push=True),)
    assert request(push=True, outputs=(ImageOutput(names=("x",)),)).outputs == (ImageOutput(names=("x",), push=True),)
    local = LocalOutput(dest="out")
    assert request(push=True, tags=("a",), outputs=(local,)).outputs == (local, ImageOutput(push=True))


@pytest.mark.parametrize(
    "options",
    [
        {"push": True},
        {"outputs": (ImageOutput(push=True),)},
        {"outputs": (ImageOutput(push_by_digest=True, push=True),)},
    ],
)
def test_what_is_pushed_needs_a_name_before_anything_is_built(options):
    with pytest.raises(UsageError, match="tag is needed when pushing to registry"):
        request(**options)
    assert request(**options, call=Call("lint"))


def test_load_adds_docker_unless_it_is_there():
    assert request(load=True).outputs == (DockerOutput(),)
    assert request(load=True, outputs=(DockerOutput(),)).outputs == (DockerOutput(),)
    written = DockerOutput(dest="x.tar")
    assert request(load=True, outputs=(written,)).outputs == (written, DockerOutput())


def test_platforms_are_normal_and_each_once():
    asked = request(platforms=("linux/arm64/v8", "local", "linux/amd64", "linux/arm64"))
    assert [str(p) for p in asked.frontend.platforms] == ["linux/arm64", "linux/amd64"]
    assert asked.frontend.multi_platform
    assert not request(platforms=("linux/arm64",)).frontend.multi_platform


def test_build_args_come_from_the_environment_where_no_value_is_given():
    asked = request({"A": "1", "SOURCE_DATE_EPOCH": "5"}, build_args=(("A", None), ("B", None), ("C", "3")))
    assert asked.frontend.build_args == (("A", "1"), ("C", "3"), ("SOURCE_DATE_EPOCH", "5"))


def test_proxies_of_docker_s_configuration_are_build_args(tmp_path):
    proxies = {
        "default": {"httpProxy": "http://p:1", "noProxy": "a,b", "httpsProxy": ""},
        "tcp://x": {"httpProxy": "y"},
    }
    (tmp_path / "config.json").write_text(json.dumps({"proxies": proxies}))
    asked = request({"DOCKER_CONFIG": str(tmp_path)}, build_args=(("http_proxy", "mine"),))
    assert asked.frontend.build_args == (
        ("http_proxy", "mine"),
        ("HTTP_PROXY", "http://p:1"),
        ("NO_PROXY", "a,b"),
        ("no_proxy", "a,b"),
    )


def test_host_gateway_is_refused_by_name():
    with pytest.raises(UsageError, match="host-gateway"):
        request(add_hosts=(HostIP("h", "host-gateway"),))


def test_archives_need_a_destination():
    with pytest.raises(UsageError, match="no destination"):
        request(outputs=(OciOutput(dest=""),))
