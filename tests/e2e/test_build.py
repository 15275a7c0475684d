"""The main job, end to end: build, push, inspect, run, for many platforms, as root and as an ordinary account."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from stage import reading

SEED = "FROM --platform=$TARGETPLATFORM alpine\nCMD ls /root\n"

APP = """\
FROM alpine AS made
WORKDIR /app
COPY --chown=7:8 --chmod=640 main.txt data/ ./
RUN uname -m > arch && chmod 4755 arch && mkdir -p deep/er && ln -s ../arch deep/link && rm /bin/vi

FROM alpine
COPY --from=made /app /srv/app
RUN rm -rf /srv/app/deep/er && echo "$GREETING" > /greeting
ENV NAME=world
LABEL org.example=yes
USER 7:8
EXPOSE 80
ENTRYPOINT ["cat"]
CMD ["/srv/app/arch"]
"""

FOREIGN = pytest.mark.emulated


@pytest.fixture
def context():
    """In a folder that every account may read: pytest's own are for one account alone."""
    above = Path(tempfile.mkdtemp(prefix="trimaran-context-", dir="/var/tmp"))
    above.chmod(0o755)
    folder = above / "context"
    (folder / "data").mkdir(parents=True)
    (folder / "Dockerfile").write_text(APP)
    (folder / "main.txt").write_text("main\n")
    (folder / "data" / "one").write_text("1\n")
    yield folder
    shutil.rmtree(above)


def write(folder, text):
    (folder / "Dockerfile").write_text(text)
    return folder


def test_seed_transcript(either, bases, context):
    """The seed's own command line, and what its `imagetools inspect` shows."""
    write(context, SEED)
    name = f"{bases}/seed:v1"
    built = either("build", "-t", name, "--platform=linux/arm64,linux/amd64", ".", "--push", cwd=context)
    assert "[linux/arm64 1/1] FROM docker.io/library/alpine" in built.stderr
    assert f"pushing manifest for {name}@sha256:" in built.stderr
    shown = either("imagetools", "inspect", name).stdout
    assert re.search(rf"^Name: +{name}$", shown, re.M)
    assert re.findall(r"Platform: +(\S+)", shown) == ["linux/arm64", "linux/amd64"]
    index = reading.index_of(name)
    assert [m["platform"]["architecture"] for m in index["manifests"]] == ["arm64", "amd64"]
    config = reading.config_of(f"docker://{name}", architecture="arm64")
    assert config["architecture"] == "arm64"
    assert config["config"]["Cmd"] == ["/bin/sh", "-c", "ls /root"]


def test_seed_build_pulls_no_layer(trimaran, bases, context):
    """Nothing reads the base, and the target registry has it: not one layer is fetched."""
    write(context, SEED)
    trimaran("build", "-t", f"{bases}/lazy:1", "--platform=linux/arm64,linux/amd64", "--push", ".", cwd=context)
    blobs = [path.stat().st_size for path in (trimaran.root / "blobs" / "sha256").iterdir()]
    assert blobs
    assert max(blobs) < 16_384, "only documents, no layer"


def test_pushed_image_is_read_back_equal(either, bases, context, tmp_path):
    name = f"{bases}/app-{either.home.owner()}:1"
    either("build", "-t", name, "--build-arg", "GREETING=ignored", "--push", ".", cwd=context)
    root = reading.unpack(f"docker://{name}", tmp_path / "read")
    assert reading.facts(root, "srv/app/main.txt", "srv/app/one", "srv/app/arch", "srv/app/deep/link", "greeting") == {
        "srv/app/main.txt": ("-rw-r-----", 7, 8, "main\n"),
        "srv/app/one": ("-rw-r-----", 7, 8, "1\n"),
        "srv/app/arch": ("-rwsr-xr-x", 0, 0, "x86_64\n"),
        "srv/app/deep/link": ("lrwxrwxrwx", 0, 0, "../arch"),
        "greeting": ("-rw-r--r--", 0, 0, "\n"),
    }
    assert not (root / "srv/app/deep/er").exists()
    assert (root / "bin/vi").exists(), "the second stage starts from its own base"
    config = reading.config_of(f"docker://{name}")
    assert config["config"]["User"] == "7:8"
    assert config["config"]["Entrypoint"] == ["cat"]
    assert config["config"]["Cmd"] == ["/srv/app/arch"]
    assert config["config"]["Labels"] == {"org.example": "yes"}
    assert "NAME=world" in config["config"]["Env"]
    assert reading.start_with_runc(root, "/bin/cat", "/srv/app/arch") == "x86_64\n"


@FOREIGN
def test_emulated_platforms(either, bases, context, tmp_path):
    write(context, "FROM alpine\nRUN uname -m > /arch\nCMD cat /arch\n")
    name = f"{bases}/many:{either.home.owner()}"
    platforms = "linux/amd64,linux/arm64,linux/arm/v7,linux/386,linux/ppc64le,linux/s390x"
    built = either("build", "--platform", platforms, "-t", name, "--push", ".", cwd=context)
    assert "emulated" in built.stderr
    for number, (arch, variant, said) in enumerate(
        [("arm64", "", "aarch64"), ("arm", "v7", "armv7l"), ("ppc64le", "", "ppc64le"), ("s390x", "", "s390x")]
    ):
        root = reading.unpack(f"docker://{name}", tmp_path / str(number), architecture=arch, variant=variant)
        assert (root / "arch").read_text().strip() == said
    ran = either("run", "--platform", "linux/arm64", name)
    assert ran.stdout.strip() == "aarch64"


def test_second_build_runs_nothing_and_gives_the_same_image(either, bases, context):
    words = ("build", "-q", "-t", f"{bases}/again:1", "--push", ".")
    first = either(*words, cwd=context)
    second = either(*words[:1], *words[2:], cwd=context)
    assert second.stderr.count("CACHED") >= 5
    assert either(*words, cwd=context).stdout == first.stdout


def test_changed_file_runs_only_what_reads_it(trimaran, bases, context):
    write(context, "FROM alpine\nRUN echo once > /a\nCOPY main.txt /\nRUN cat main.txt > /b\n")
    trimaran("build", "-t", "x", ".", cwd=context)
    (context / "main.txt").write_text("changed\n")
    again = trimaran("build", "-t", "x", ".", cwd=context).stderr
    steps = dict(re.findall(r"#(\d+) \[[^\]]* ?(\d/\d)\]", again))
    cached = {steps[n] for n in re.findall(r"#(\d+) CACHED", again) if n in steps}
    assert "2/4" in cached
    assert "3/4" not in cached
    assert "4/4" not in cached


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_archives_are_read_by_skopeo(either, bases, context, kind, tmp_path):
    either("build", "-t", "app:1", "-o", f"type={kind},dest={either.home}/image.tar", ".", cwd=context)
    scheme = "oci-archive" if kind == "oci" else "docker-archive"
    root = reading.unpack(f"{scheme}:{either.home}/image.tar", tmp_path / "read")
    assert (root / "srv/app/main.txt").read_text() == "main\n"


def test_layout_folder_is_read_by_skopeo(trimaran, bases, context, tmp_path):
    trimaran("build", "-t", "app:1", "-o", f"type=oci,tar=false,dest={tmp_path}/layout", ".", cwd=context)
    root = reading.unpack(f"oci:{tmp_path}/layout", tmp_path / "read")
    assert (root / "srv/app/main.txt").read_text() == "main\n"


def test_local_output_is_files(either, bases, context):
    either("build", "-o", str(either.home / "out"), ".", cwd=context)
    assert (either.home / "out" / "srv/app/main.txt").read_text() == "main\n"
    assert (either.home / "out" / "srv/app/deep/link").readlink().name == "arch"


def test_tar_output_to_standard_output(trimaran, bases, context, tmp_path):
    words = [*trimaran.command, "build", "-q", "-o", "type=tar,dest=-", "."]
    with (tmp_path / "out.tar").open("wb") as file:
        subprocess.run(words, cwd=context, env=trimaran.environment, stdout=file, check=True, timeout=60)
    with tarfile.open(tmp_path / "out.tar") as archive:
        member = archive.getmember("srv/app/main.txt")
        assert (member.mode, member.uid, member.gid) == (0o640, 7, 8)


@pytest.mark.parametrize("compression", ["uncompressed", "gzip,compression-level=1"])
def test_compressions_are_read_back(trimaran, bases, context, compression, tmp_path):
    output = f"type=oci,dest={tmp_path}/image.tar,compression={compression},force-compression=true"
    trimaran("build", "-t", "app:1", "-o", output, ".", cwd=context)
    root = reading.unpack(f"oci-archive:{tmp_path}/image.tar", tmp_path / "read")
    assert (root / "srv/app/main.txt").read_text() == "main\n"


def test_zstd_is_read_back(trimaran, bases, context, tmp_path):
    """umoci knows no zstd: skopeo writes the layers as gzip for it, and checks every diff id on the way."""
    output = f"type=oci,dest={tmp_path}/image.tar,compression=zstd,force-compression=true"
    trimaran("build", "-t", "app:1", "-o", output, ".", cwd=context)
    source = f"oci-archive:{tmp_path}/image.tar"
    manifest = json.loads(reading.skopeo("inspect", "--raw", source))
    assert all(layer["mediaType"].endswith("+zstd") for layer in manifest["layers"])
    reading.skopeo("copy", "-q", "--dest-compress-format", "gzip", "--dest-compress", source, f"dir:{tmp_path}/dir")
    read = json.loads((tmp_path / "dir" / "manifest.json").read_text())
    assert all(layer["mediaType"].endswith("gzip") for layer in read["layers"])


def test_docker_media_types(trimaran, bases, context):
    name = f"{bases}/dockerish:1"
    trimaran("build", "-o", f"type=registry,name={name},oci-mediatypes=false", ".", cwd=context)
    manifest = reading.index_of(name)
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.docker.image.rootfs.diff.tar.gzip"}


def test_iidfile_and_metadata(trimaran, bases, context, tmp_path):
    words = ("--iidfile", str(tmp_path / "iid"), "--metadata-file", str(tmp_path / "meta"))
    printed = trimaran("build", "-q", "-t", "app:1", *words, ".", cwd=context).stdout.strip()
    assert (tmp_path / "iid").read_text() == printed
    metadata = json.loads((tmp_path / "meta").read_text())
    assert metadata["containerimage.config.digest"] == printed
    assert metadata["image.name"] == "docker.io/library/app:1"
    assert metadata["containerimage.descriptor"]["digest"] == metadata["containerimage.digest"]


def test_stored_image_is_run_and_pushed_without_its_context(either, bases, context):
    name = f"{bases}/kept-{either.home.owner()}:1"
    either("build", "-t", name, ".", cwd=context)
    for path in context.iterdir():
        subprocess.run(["rm", "-rf", str(path)], check=True)
    assert either("run", name).stdout == "x86_64\n"
    assert either("run", "--entrypoint", "sh", name, "-c", "exit 7", exit_code=7).returncode == 7
    either("push", name)
    assert reading.index_of(name)["layers"]
    repository = name.removesuffix(":1")
    assert repository in either("images").stdout
    either("rmi", name)
    assert repository not in either("images").stdout


def test_from_an_image_of_the_store(trimaran, bases, context):
    trimaran("build", "-t", "my/base", ".", cwd=context)
    write(context, "FROM my/base\nRUN id -u > /tmp/who\n")
    built = trimaran("build", "-t", "my/child", ".", cwd=context)
    assert "answered by the local image store" in built.stderr
    assert trimaran("run", "my/child", "/tmp/who").stdout == "7\n"
