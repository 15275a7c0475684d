"""Secrets of every kind in one build, and then their bytes looked for everywhere (T19, T26, T56, T57, T59)."""

from __future__ import annotations

import base64
import os
import re
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import ssh
from stage.contexts import Context
from stage.git_server import GitServer
from stage.program import Trimaran
from stage.searching import Watching, places_with
from stage.web_server import WebServer

FILE, VARIABLE, TOKEN, HEADER, PASSWORD, GIT_PASSWORD = (
    f"{name}-of-the-test-3141592653" for name in ("file", "variable", "token", "header", "password", "gitpassword")
)
CONTROL = "no-secret-at-all-2718281828"
"""What the search has to find."""


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer().serving() as running:
        running.files["/file.txt"] = b"fetched\n"
        yield running


@pytest.fixture
def repositories(tmp_path: Path) -> Iterator[dict[str, GitServer]]:
    """Three hosts (ports differ), each with a private repository for one kind of login."""
    passwords = {"token": TOKEN, "header": HEADER, "url": GIT_PASSWORD}
    servers = {name: GitServer(tmp_path / name) for name in passwords}
    for name, server in servers.items():
        copy = server.repository("app")
        copy.write("read", f"{name}\n")
        copy.commit()
        server.password = passwords[name]
    with servers["token"].serving(), servers["header"].serving(), servers["url"].serving():
        yield servers


DOCKERFILE = """FROM alpine AS given
ENV STEP=given
RUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=TOKEN --mount=type=ssh \\
    test "$(cat /run/secrets/file)" = {file} || exit 3; test -S "$SSH_AUTH_SOCK" && sleep 0.5 && \\
    test ${{#TOKEN}} = {length} && echo used && : {control}
FROM alpine AS beside
ENV STEP=beside
RUN for n in 1 2 3 4 5 6 7 8; do cat /proc/*/environ /proc/*/cmdline /proc/mounts; sleep 0.1; done > /saw; env >> /saw
RUN test ! -e /run/secrets && test ! -e /run/buildkit && ls -R /run > /ran
FROM scratch
ADD {token}#main /token/
ADD {header}#main /header/
ADD {url}#main /url/
ADD --keep-git-dir=true {url}#main /kept/
ADD {web} /web/
COPY --from=given /etc/passwd /given
COPY --from=beside /saw /ran /beside/
"""


def dockerfile(repositories: dict[str, GitServer], web: WebServer) -> str:
    return DOCKERFILE.format(
        # The shell's own words must not be what is looked for.
        file="".join(f"{FILE[n : n + 5]}''" for n in range(0, len(FILE), 5)),
        length=len(VARIABLE),
        control=CONTROL,
        token=repositories["token"].url("app"),
        header=repositories["header"].url("app"),
        url=repositories["url"].url("app", user=f"me:{GIT_PASSWORD}"),
        web=web.url("/file.txt", user=f"me:{PASSWORD}"),
    )


def test_secrets_of_all_kinds_are_nowhere(
    either: Trimaran, bases: str, context: Context, repositories: dict[str, GitServer], web: WebServer, tmp_path: Path
) -> None:
    key = ssh.make_key(either.home)
    private = key.read_text().splitlines()[2]
    secret = either.home / "secret"
    secret.write_text(FILE)
    secret.chmod(0o644)
    header = "basic " + base64.b64encode(f"me:{HEADER}".encode()).decode()
    encoded = [base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode(), header.removeprefix("basic ")]
    encoded += [base64.b64encode(f"me:{each}".encode()).decode() for each in (PASSWORD, GIT_PASSWORD)]
    needles = (FILE, VARIABLE, TOKEN, HEADER, PASSWORD, GIT_PASSWORD, private, *encoded)
    given = {"VARIABLE": VARIABLE, "GIT_AUTH_TOKEN": TOKEN, "HEADER": header}
    host = repositories["header"].url("app").split("/")[2]
    context.dockerfile(dockerfile(repositories, web))
    words = (
        *("build", "-D", "--progress=rawjson", "-t", "with:secrets", "--ssh", f"default={key}"),
        *("--secret", f"id=file,src={secret}", "--secret", "id=variable,env=VARIABLE"),
        *("--secret", "id=GIT_AUTH_TOKEN", "--secret", f"id=GIT_AUTH_HEADER.{host},env=HEADER"),
        *("--metadata-file", str(either.home / "metadata.json")),
        *("-o", f"type=oci,dest={either.home}/image.tar,compression=uncompressed", "-o", "type=image"),
    )
    with Watching(*needles, CONTROL, ours=f"TRIMARAN_ROOT={either.root}") as watching:
        done = either(*words, ".", cwd=context.folder, env=given)
    assert {s.where for s in watching.seen if s.needle == CONTROL} == {"cmdline"}
    assert [s for s in watching.seen if s.needle == VARIABLE and "STEP=given" in s.environment]
    assert "used" in either("logs").stdout, "this test is void when the step did not get them"
    assert web.asked[-1].headers["Authorization"] == "Basic " + encoded[2]
    assert [repositories[name].credentials[-1] for name in repositories] == [
        f"x-access-token:{TOKEN}",
        f"me:{HEADER}",
        f"me:{GIT_PASSWORD}",
    ]
    allowed = {(VARIABLE, "environ", True), (CONTROL, "cmdline", True)}
    strangers = {s for s in watching.seen if (s.needle, s.where, "STEP=given" in s.environment) not in allowed}
    assert not strangers, "\n".join(f"{s.where} of {s.command} has {s.needle}" for s in sorted(strangers))
    for needle in needles:
        assert needle not in done.stdout + done.stderr
    secret.unlink()
    key.unlink()
    assert places_with(either.home, CONTROL), "the search finds what is there"
    assert places_with(either.home, *needles) == []
    assert either("run", "with:secrets", "/none", exit_code=None).returncode == 127
    told = [either(*command).stdout for command in (("logs",), ("images",), ("du", "--verbose"))]
    assert not [needle for needle in needles for text in told if needle in text]
    seen = subprocess.run(["tar", "-xOf", either.home / "image.tar"], capture_output=True, check=True).stdout
    assert b"cat /proc/*/environ" in seen, "this test is void when it does not look into the configuration"


def test_secrets_of_builds_that_fail(
    either: Trimaran, bases: str, context: Context, repositories: dict[str, GitServer], web: WebServer
) -> None:
    """What went wrong is told, and who may not be told is not."""
    web.files.clear()
    url = repositories["url"].url("gone", user=f"me:{GIT_PASSWORD}")
    token = repositories["token"].url("gone")
    for source in (web.url("/file.txt", user=f"me:{PASSWORD}"), url, token):
        context.dockerfile(f"FROM scratch\nADD {source} /\n")
        words = ("-D", "--progress=rawjson", "--secret", "id=GIT_AUTH_TOKEN")
        done = either("build", *words, ".", cwd=context.folder, exit_code=1, env={"GIT_AUTH_TOKEN": TOKEN})
        shown = "\n".join(line for line in (done.stdout + done.stderr).splitlines() if ">>>" not in line)
        for needle in (PASSWORD, GIT_PASSWORD, TOKEN):
            assert needle not in shown
    assert places_with(either.home, PASSWORD, GIT_PASSWORD, TOKEN) == []
    assert os.path.isdir(either.root / "builds")


@pytest.mark.parametrize("form", ["me:{}", "{}"])
def test_secrets_of_the_context_s_url_are_nowhere(
    trimaran: Trimaran, repositories: dict[str, GitServer], form: str
) -> None:
    """A password, or a token in the user's place: not in what is told, nor in the record of the build."""
    server = repositories["url"]
    copy = server.repository("context")
    copy.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")
    copy.commit()
    user = form.format(GIT_PASSWORD)
    server.password = "" if form == "{}" else GIT_PASSWORD
    encoded = base64.b64encode(f"{user}{':' if form == '{}' else ''}".encode()).decode()
    words = ("-D", "--progress=rawjson", "--metadata-file", str(trimaran.home / "told.json"), "-o", "type=image")
    for name, exit_code in (("context", 0), ("gone", 1)):
        done = trimaran("build", *words, server.url(name, user=user), exit_code=exit_code)
        told = [done.stdout, done.stderr, *(trimaran(each).stdout for each in ("logs", "ls"))]
        assert not [text for text in told if GIT_PASSWORD in text]
    assert places_with(trimaran.home, GIT_PASSWORD, encoded) == []
    assert places_with(trimaran.home, "context.git"), "the search finds what is there"


KEY_ID, KEY, SESSION = (f"{name}-of-the-cache-3141592653" for name in ("keyid", "key", "session"))


def test_keys_of_a_cache_are_nowhere(trimaran: Trimaran, bases: str, context: Context) -> None:
    """CVE-2025-0495: not in the trace of the build, its record, metadata or warnings; the cache works."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        keys = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": KEY, "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=endpoint, **keys).create_bucket(Bucket="there")
        told = [_with_keys(trimaran, context, endpoint, bucket) for bucket in ("there", "there", "gone")]
    finally:
        server.stop()
    assert "CACHED" in told[1], "this test is void when the keys open nothing"
    assert "WARN: cache of s3:gone" in told[2]
    assert not [needle for needle in (KEY_ID, KEY, SESSION) for text in told if needle in text]
    assert places_with(trimaran.home, KEY_ID, KEY, SESSION) == []
    assert places_with(trimaran.home, "us-east-1-is-told"), "the search finds what is there"


SIGN_KEY = "signs-caches-of-trusted-jobs-3141592653"


def test_a_key_that_signs_is_nowhere(trimaran: Trimaran, bases: str, context: Context) -> None:
    """Neither in what is told and kept, nor in the cache; not where it fits and not where it does not."""
    folder, key = trimaran.home / "cache", context.folder.parent / "key"
    key.write_text(SIGN_KEY)
    key.chmod(0o600)
    context.dockerfile("FROM alpine\nRUN echo us-east-1-is-told; env; ls -A /run\n")
    said = ""
    for number, source in enumerate((key, "env:CACHE_KEY", "env:OTHER")):
        trimaran.environment["TRIMARAN_ROOT"] = str(trimaran.home / f"store-{number}")
        told = [f"--cache-from=type=local,src={folder}", f"--cache-to=type=local,dest={folder},mode=max"]
        words = ("-D", *(f"{each},sign-key={source}" for each in told), "--metadata-file", "told.json", ".")
        given = {"CACHE_KEY": SIGN_KEY, "OTHER": SIGN_KEY[::-1]}
        done = trimaran("build", "--progress=plain", *words, cwd=context.folder, env=given)
        said += f"{done.stdout}{done.stderr}{trimaran('logs').stdout}"
    assert "is not used: check its signature" in said, "this test is void when no signature was checked"
    assert SIGN_KEY not in said
    assert SIGN_KEY[::-1] not in said
    assert places_with(trimaran.home, SIGN_KEY, SIGN_KEY[::-1]) == []
    assert places_with(trimaran.home, "us-east-1-is-told"), "the search finds what is there"


def _with_keys(command: Trimaran, context: Context, endpoint: str, bucket: str) -> str:
    """All that is said of a build on a new store with a cache in that bucket."""
    command.environment["TRIMARAN_ROOT"] = str(command.home / f"store-{os.urandom(2).hex()}")
    context.dockerfile("FROM alpine\nRUN echo us-east-1-is-told\n")
    place = f"type=s3,bucket={bucket},region=us-east-1,endpoint_url={endpoint},use_path_style=true"
    opened = f"{place},access_key_id={KEY_ID},secret_access_key={KEY},session_token={SESSION}"
    words = ("-D", f"--cache-from={opened}", f"--cache-to={opened},mode=max", "--metadata-file", "told.json")
    given = {"AWS_SECRET_ACCESS_KEY": KEY, "AWS_SESSION_TOKEN": SESSION, "AWS_EC2_METADATA_DISABLED": "true"}
    plain = command("build", "--progress=plain", *words, ".", cwd=context.folder, env=given)
    raw = command("build", "--progress=rawjson", "--no-cache", *words, ".", cwd=context.folder, env=given)
    return f"{plain.stdout}{plain.stderr}{raw.stdout}{raw.stderr}{command('logs').stdout}"


def test_what_a_crash_leaves_is_in_no_layer(either: Trimaran, bases: str, context: Context) -> None:
    """A process with a secret in its environment crashes, where the account's limits let it leave its memory behind."""
    crash = "(cd /tmp && ulimit -c && sh -c 'kill -SEGV $$'); ls -A /tmp"
    context.dockerfile(f"FROM alpine\nRUN --mount=type=secret,id=s,env=TOKEN {crash}\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        words = ("build", "--progress=plain", "-t", "crashed", "--secret", "id=s,env=S", ".")
        said = either(*words, cwd=context.folder, env={"S": VARIABLE}).stderr
        assert re.findall(r"^#\d+ [\d.]+ (.*)$", said, re.M)[0] == "0"
        assert "core" not in re.findall(r"^#\d+ [\d.]+ (.*)$", said, re.M)
        asked = either(*words[:-1], "--ulimit", "core=1000000", ".", cwd=context.folder, env={"S": VARIABLE}).stderr
        assert "0" not in re.findall(r"^#\d+ [\d.]+ (\d+)$", asked, re.M), "whoever wants it gets it"
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def test_a_step_that_prints_and_keeps_its_secret_is_told(either: Trimaran, bases: str, context: Context) -> None:
    """The output and the log have a mask, the warning names the file; a step that only uses it is not blamed."""
    context.write("secret", f"{FILE}\n")
    mount = "RUN --mount=type=secret,id=token"
    text = f"FROM alpine\n{mount} cat /run/secrets/token; cp /run/secrets/token /root/.netrc\n{mount},env=T test $T\n"
    words = ("--progress=plain", "--secret", f"id=token,src={context.folder}/secret")
    said = either("build", *words, ".", cwd=context.dockerfile(text).folder).stderr
    assert FILE not in said
    assert re.search(r"^#\d+ [\d.]+ \*\*\*$", said, re.MULTILINE)
    told = [line for line in said.splitlines() if "secret token is in the layer of this step: /root/.netrc" in line]
    assert len(told) == 2, "where it happens, and once more at the end; the step that only uses it is not named"
    assert FILE not in either("logs").stdout
