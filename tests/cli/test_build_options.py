"""Words to BuildOptions, and everything that is refused on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimaran.builders.options import BuildOptions, Call
from trimaran.caches.options import Signing
from trimaran.cli.build_flags import FLAGS
from trimaran.cli.build_options import additions, build_options, caches_left_out
from trimaran.cli.options import parse
from trimaran.cli.outputs import parse_annotation, parse_output
from trimaran.errors import UsageError
from trimaran.exporters.options import (
    Annotation,
    CacheOnlyOutput,
    Compression,
    DockerOutput,
    ImageOutput,
    LocalOutput,
    OciOutput,
    Output,
    TarOutput,
)
from trimaran.graph.ops import HostIP, Ulimit
from trimaran.sources.given import KeySource


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "file").touch()
    return tmp_path


def options(*argv: str, environment: dict[str, str] | None = None) -> BuildOptions:
    variables = environment or {}
    return build_options(parse(FLAGS, argv, environment=variables), variables)


@pytest.mark.usefixtures("context")
def test_the_seeds_line() -> None:
    made = options("-t", "registry.example/me/test:v1", "--platform=linux/arm64,linux/amd64", ".", "--push")
    assert made == BuildOptions(
        context=".", tags=("registry.example/me/test:v1",), platforms=("linux/arm64", "linux/amd64"), push=True
    )


@pytest.mark.usefixtures("context")
def test_everything_at_once() -> None:
    made = options(
        *("--build-arg", "A=b=c", "--build-arg", "HOME", "--label", "x=y=z", "--label", "bare", "--target", "t"),
        *("--add-host", "a:1.2.3.4", "--add-host", "b=[::1]", "--add-host=h:host-gateway", "--ulimit", "nofile=10:20"),
        *("--shm-size", "64m", "--network=host", "--no-cache-filter", "a,b", "--pull", "--build-context", "Src=src"),
        *("--allow", "network.host", "-q", "--iidfile", "i", "--metadata-file", "m", "src"),
    )
    assert made.build_args == (("A", "b=c"), ("HOME", None))
    assert made.labels == (("x", "y=z"), ("bare", ""))
    assert made.add_hosts == (HostIP("a", "1.2.3.4"), HostIP("b", "::1"), HostIP("h", "host-gateway"))
    assert made.ulimits == (Ulimit("nofile", 10, 20),)
    assert (made.shm_size, made.network, made.no_cache_filter, made.pull) == (64 << 20, "host", ("a", "b"), True)
    assert [(each.name, each.value) for each in made.build_contexts] == [("src", "src")]
    assert (made.progress, made.iidfile, made.metadata_file, made.target) == ("quiet", "i", "m", "t")


@pytest.mark.usefixtures("context")
def test_environment() -> None:
    made = options(".", environment={"SOURCE_DATE_EPOCH": "0", "DOCKER_DEFAULT_PLATFORM": "linux/arm64"})
    assert made.build_args == (("SOURCE_DATE_EPOCH", "0"),)
    assert made.platforms == ("linux/arm64",)
    given = options(".", "--build-arg=SOURCE_DATE_EPOCH=5", environment={"SOURCE_DATE_EPOCH": "0"})
    assert given.build_args == (("SOURCE_DATE_EPOCH", "5"),)
    assert options(".", "--progress=auto", environment={"BUILDKIT_PROGRESS": "plain"}).progress == "plain"


@pytest.mark.usefixtures("context")
def test_attestations_that_are_off_are_accepted() -> None:
    off = ("--provenance=false", "--sbom=false", "--attest=type=sbom,disabled=true", "--check=false")
    assert options(*off, ".") == options(".")


@pytest.mark.usefixtures("context")
def test_attestations_are_left_out_where_that_is_wanted() -> None:
    """What docker/build-push-action passes always; each is named, and only what is on."""
    argv = ("--attest", "type=provenance,mode=min,inline-only=true,builder-id=https://ci.example", "--sbom=true", ".")
    with pytest.raises(UsageError, match="--sbom=true: not done") as refused:
        options(*argv)
    assert "TRIMARAN_COMPAT=warn" in refused.value.hint
    assert options(*argv, environment={"TRIMARAN_COMPAT": "warn"}) == options(".")
    assert additions(parse(FLAGS, argv, environment={})) == ["--sbom=true", "--attest type=provenance"]
    assert (
        additions(parse(FLAGS, ("--provenance=false", "--attest=type=sbom,disabled=true", "."), environment={})) == []
    )


@pytest.mark.usefixtures("context")
def test_caches_that_are_not_here_are_left_out_where_that_is_wanted() -> None:
    argv = ("--cache-from=type=gha,token=s3cret", "--cache-from=user/app:cache", "--cache-to=type=azblob,name=x", ".")
    with pytest.raises(UsageError, match="type=gha: GitHub's cache service is not supported") as refused:
        options(*argv)
    assert "TRIMARAN_COMPAT=warn" in refused.value.hint
    warn = {"TRIMARAN_COMPAT": "warn"}
    assert options(*argv, environment=warn) == options("--cache-from=user/app:cache", ".")
    values = parse(FLAGS, (*argv[:1], *argv), environment={})
    assert caches_left_out(values, warn) == ["--cache-from type=gha", "--cache-to type=azblob"]
    assert caches_left_out(values, {}) == []
    with pytest.raises(UsageError, match="no-such"):
        options("--cache-from=type=no-such", ".", environment=warn)


@pytest.mark.usefixtures("context")
def test_keys_that_sign_caches_are_named_and_not_given(context: Path) -> None:
    """By file, which the engine finds from anywhere, or by variable."""
    told = "type=registry,ref=app:cache,sign-key"
    made = options(f"--cache-from={told}=key", f"--cache-to={told}=env:KEY,sign-scope=ours", ".")
    assert [each.signing for each in made.cache_from] == [Signing(KeySource(str(context / "key")))]
    assert [each.signing for each in made.cache_to] == [Signing(KeySource(variable="KEY"), "ours")]
    for words in ("type=local,src=x", "type=s3,bucket=b"):
        assert options(f"--cache-from={words},sign-key=env:KEY", ".").cache_from[0].signing is not None
    for words, message in (
        ("--cache-to=type=inline,sign-key=key", "sign-key=key: not done"),
        ("--cache-from=type=registry,ref=app,sign-key=env:", "no variable has that name"),
        ("--cache-from=type=registry,ref=app,sign-scope=x", "there is no sign-key"),
    ):
        with pytest.raises(UsageError, match=message):
            options(words, ".")


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize(
    ("argv", "call"),
    [
        ((), None),
        (("--call=build",), None),
        (("--check",), Call("lint")),
        (("--call=check",), Call("lint")),
        (("--check=false",), None),
        (("--call=check,format=json,ignorestatus=1",), Call("lint", "json", True)),
        (("--call", "targets,format=json"), Call("targets", "json")),
        (("--call=subrequests.describe",), Call("subrequests.describe")),
    ],
)
def test_call(context: Path, argv: tuple[str, ...], call: Call | None) -> None:
    assert options(*argv, ".").call == call


@pytest.mark.usefixtures("context")
@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (("--provenance=true", "."), "--provenance=true: not done"),
        (("--provenance=mode=max", "."), "--provenance=mode=max: not done"),
        (("--sbom=1", "."), "--sbom=1: not done"),
        (("--attest", "type=sbom", "."), "type=sbom: not done"),
        (("--attest", "type=foo", "."), 'unknown type of --attest "foo"'),
        (("--call=check,x=1", "."), "invalid print field: x=1"),
        (("--call=check,ignorestatus=maybe", "."), "ignorestatus=maybe"),
        (("--call=outline", "--check", "."), "cannot be used together"),
        (("--cache-from", "type=gha", "."), "type=gha: GitHub's cache service is not supported yet"),
        (("--secret", "src=a", "."), "no id"),
        (("--secret", "id=a,src=b,env=C", "."), "both a file and a variable"),
        (("--secret", "id=a,typ=env", "."), "unknown key of a secret"),
        (("--secret", "id=a,cache-key=sha256", "."), 'unknown cache-key "sha256"'),
        (("--secret", "id=a,type=pipe", "."), "pipe"),
        (("--ssh", "=x", "."), "no name or no path"),
        (("--allow", "security.insecur", "."), "unknown entitlement"),
        (("--allow", "device=gpu", "."), "device=gpu: not done"),
        (("--allow", "foo", "."), 'unknown entitlement "foo"'),
        (("--no-cache", "--no-cache-filter=a", "."), "--no-cache and --no-cache-filter"),
        (("-f", "-", "-"), "both from standard input"),
        (("nowhere",), 'path "nowhere" not found'),
        (("file",), "is a file"),
        (("--network=foo", "."), 'network mode "foo"'),
        (("--progress=foo", "."), 'unknown progress mode "foo"'),
        (("--platform=linux/amd46", "."), 'unknown architecture "amd46"'),
        (("--platform=linus/amd64", "."), 'unknown operating system "linus"'),
        (("--platform=lin ux", "."), "parse platform"),
        (("-t", "A:b", "."), 'invalid tag "A:b"'),
        (("-t", "a@sha256:" + "0" * 64, "."), "a name with a digest"),
        (("--ulimit", "abc", "."), "invalid ulimit argument"),
        (("--ulimit", "nofiles=1", "."), 'unknown ulimit type "nofiles"'),
        (("--ulimit", "nofile=2:1", "."), "less than or equal"),
        (("--add-host", "a", "."), "bad format for add-host"),
        (("--add-host", "a:1.2.3", "."), "invalid IP address"),
        (("--build-context", "a", "."), "invalid context value"),
        (("--build-context", "a=nowhere", "."), 'path "nowhere" not found'),
        (("--build-arg", "=x", "."), "no name"),
        (("--build-ca=", "."), 'read --build-ca "": empty'),
        (("--lock=", "."), 'read --lock "": empty'),
    ],
)
def test_refused(argv: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        options(*argv)
    assert complaint in str(caught.value)


@pytest.mark.usefixtures("context")
def test_variables_that_change_a_build_elsewhere_are_refused() -> None:
    for name in ("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "BUILDX_GIT_LABELS"):
        with pytest.raises(UsageError, match=name):
            options(".", environment={name: "1"})


@pytest.mark.usefixtures("context")
def test_a_missing_context_names_its_neighbour() -> None:
    with pytest.raises(UsageError) as caught:
        options("scr")
    assert caught.value.hint == "did you mean src?"


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("-", TarOutput(dest="-")),
        ("out", LocalOutput(dest="out")),
        ("type=local,dest=out,platform-split=false", LocalOutput(dest="out", platform_split=False)),
        ("type=tar", TarOutput(dest="-")),
        ("type=tar,dest=a.tar", TarOutput(dest="a.tar")),
        ("type=cacheonly", CacheOnlyOutput()),
        ("type=registry", ImageOutput(push=True)),
        ("type=image,push=", ImageOutput(push=True)),
        ('type=image,"name=a,b:1",push=true,unpack=false', ImageOutput(names=("a", "b:1"), push=True)),
        ("type=image,push-by-digest=true,registry.insecure=1", ImageOutput(push_by_digest=True, insecure=True)),
        ("type=oci,dest=o.tar,tar=true", OciOutput(dest="o.tar")),
        ("type=oci,dest=o,tar=false", OciOutput(dest="o", tar=False)),
        ("type=oci", OciOutput(dest="-")),
        ("TYPE=docker,dest=d.tar", DockerOutput(dest="d.tar")),
        ("type=docker,context=other", DockerOutput(context="other")),
        ("type=oci,dest=x,compression=zstd,compression-level=22", OciOutput(dest="x", compression=Compression("zstd", 22))),
        ("type=oci,dest=x,compression=zstd,compression-level=0", OciOutput(dest="x", compression=Compression("zstd", 0))),
        ("type=oci,dest=x,compression=uncompressed,compression-level=3", OciOutput(dest="x", compression=Compression("uncompressed"))),
        ("type=oci,dest=x,compression-level=0", OciOutput(dest="x", compression=Compression("gzip", 0))),
        ("type=oci,dest=x,force-compression=true", OciOutput(dest="x", compression=Compression(force=True))),
        ("type=oci,dest=x,oci-mediatypes=false", OciOutput(dest="x", oci_media_types=False)),
        (
            "type=image,annotation.a.b=c,annotation-index.k=v,annotation-manifest[linux/amd64].p=q",
            ImageOutput(
                annotations=(
                    Annotation("manifest", None, "a.b", "c"),
                    Annotation("index", None, "k", "v"),
                    Annotation("manifest", "linux/amd64", "p", "q"),
                )
            ),
        ),
    ],
)  # fmt: skip
def test_outputs(text: str, output: Output) -> None:
    assert parse_output(text) == output


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("dest=x", "type is required"),
        ("type=foo", 'unknown type of --output "foo"'),
        ("type=oci,des=x", 'unknown key of type=oci "des"'),
        ("type=local", "dest must be a folder"),
        ("type=local,dest=-", "dest must be a folder"),
        ("type=oci,tar=false", "dest is required"),
        ("type=oci,dest", "invalid value dest"),
        ("type=oci,dest=x,tar=maybe", "neither true nor false"),
        ("type=oci,dest=x,compression=lz4", 'unknown compression of --output "lz4"'),
        ("type=oci,dest=x,compression=estargz", "not done"),
        ("type=oci,dest=x,compression-level=10", "gzip has 0 to 9"),
        ("type=oci,dest=x,compression-level=-1", "gzip has 0 to 9"),
        ("type=oci,dest=x,compression=zstd,compression-level=23", "zstd has 0 to 22"),
        ("type=oci,dest=x,compression-level=best", "not a whole number"),
        ("type=image,unpack=true", "unpack=true: not done"),
        ("type=image,annotation-foo.k=v", 'unknown annotation type "foo"'),
        ("type=image,name=A", "invalid tag"),
        ("type=local,dest=x,mode=move", 'unknown mode of --output "move"'),
        ('type=oci,"dest=x', "parse csv"),
    ],
)
def test_outputs_refused(text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_output(text)
    assert complaint in str(caught.value)


def test_the_nearest_key_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        parse_output("type=oci,dest=x,compresion=zstd")
    assert caught.value.hint.startswith("did you mean compression? known: ")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a=b", (Annotation("manifest", None, "a", "b"),)),
        ("index:a=b=c", (Annotation("index", None, "a", "b=c"),)),
        ("manifest[linux/arm64]:a=", (Annotation("manifest", "linux/arm64", "a", ""),)),
        ("index,manifest:a=b", (Annotation("index", None, "a", "b"), Annotation("manifest", None, "a", "b"))),
        (
            "index,manifest[linux/amd64]:a=b",
            (Annotation("index", None, "a", "b"), Annotation("manifest", "linux/amd64", "a", "b")),
        ),
        ("org.example.x:y=z", (Annotation("manifest", None, "org.example.x:y", "z"),)),
    ],
)
def test_annotations(text: str, found: tuple[Annotation, ...]) -> None:
    assert parse_annotation(text) == found


@pytest.mark.parametrize("text", ["foo", "bar:foo=x", "index:=x", "manifest[x:a=b"])
def test_annotations_refused(text: str) -> None:
    with pytest.raises(UsageError, match="parse annotations"):
        parse_annotation(text)
