"""What a build leaves written down, and for how long."""

import os
import time
from contextlib import suppress

import msgspec
import pytest

from trimaran.digest import Digest
from trimaran.engine.history import BuildLog, builds, forget, unfinished
from trimaran.engine.request import BuildRequest
from trimaran.errors import NOT_CACHED, StepFailed
from trimaran.events import CANCELED, LogEvent, VertexEvent
from trimaran.graph.frontend import FrontendRequest
from trimaran.misses import Unfinished
from trimaran.platforms import Platform
from trimaran.settings import HistorySettings

REQUEST = BuildRequest(frontend=FrontendRequest(build_platform=Platform("linux", "amd64")), names=("app:1",))
VERTEX = Digest.of(b"v")
KEEP = HistorySettings()


def record(root, data=b"", error=None, keep=KEEP):
    with suppress(StepFailed, KeyboardInterrupt):
        with BuildLog.open(str(root), REQUEST, keep) as log:
            log.write(VertexEvent(digest=VERTEX, name="RUN x", started=1))
            if data:
                log.write(LogEvent(vertex=VERTEX, stream=1, data=data))
            log.write(VertexEvent(digest=VERTEX, name="RUN x", started=1, completed=2))
            if error is not None:
                raise error
    return log


def test_every_byte_a_step_wrote_is_kept(tmp_path):
    data = os.urandom(5_000_000)
    log = record(tmp_path, data)
    with open(f"{log.folder}/1.log", "rb") as file:
        assert file.read() == data
    (found,) = builds(str(tmp_path))
    assert (found.status, found.name, found.steps[0].logged) == ("completed", "app:1", True)


def test_a_failed_step_points_to_its_log(tmp_path):
    error = StepFailed("no", exit_code=1, vertex="RUN x")
    log = record(tmp_path, b"said\n", error)
    assert error.hint == f"all that the step said: {log.folder}/1.log"
    assert builds(str(tmp_path))[0].status == "error"


@pytest.mark.parametrize("error", [KeyboardInterrupt()])
def test_cancelled_is_no_error(tmp_path, error):
    record(tmp_path, error=error)
    assert builds(str(tmp_path))[0].status == "canceled"


def test_steps_of_which_nothing_came_are_known_by_their_keys(tmp_path):
    errors = {"a": "exit code: 1", "b": CANCELED, "c": f"run RUN c: {NOT_CACHED}", "d": ""}
    with suppress(KeyboardInterrupt), BuildLog.open(str(tmp_path), REQUEST, KEEP) as log:
        for key, error in errors.items():
            event = VertexEvent(digest=Digest.of(key.encode()), name=key, started=1, completed=5, error=error, key=key)
            log.write(event)
        raise KeyboardInterrupt
    assert unfinished(str(tmp_path), 5) == {"a": Unfinished("failed", 5), "b": Unfinished("canceled", 5)}
    record(tmp_path)
    assert unfinished(str(tmp_path), 1) == {}


def test_the_oldest_go_when_there_are_too_many(tmp_path):
    logs = [record(tmp_path, keep=HistorySettings(max_entries=2)) for _ in range(4)]
    left = {found.build_id for found in builds(str(tmp_path))}
    assert len(left) == 2
    assert logs[-1].build_id in left


def test_the_old_go(tmp_path):
    old = record(tmp_path)
    os.utime(old.folder, (0, time.time() - 100))
    forget(f"{tmp_path}/builds", HistorySettings(max_age=50))
    assert builds(str(tmp_path)) == []


def test_what_an_image_was_made_from_is_kept_without_what_may_be_secret(tmp_path):
    """Any request can be read back: every kind of output and cache is one that messages can tell from the others."""
    from trimaran.caches.options import LocalImport
    from trimaran.digest import Digest
    from trimaran.engine.history import MadeImage, made_image
    from trimaran.engine.request import BuildOutcome, BuildRequest
    from trimaran.exporters.options import CacheOnlyOutput, DockerOutput, ImageOutput, LocalOutput, OciOutput, TarOutput
    from trimaran.graph.frontend import FrontendRequest
    from trimaran.oci.descriptor import Descriptor
    from trimaran.platforms import default
    from trimaran.settings import HistorySettings
    from trimaran.sources.given import SecretSource

    outputs = (
        ImageOutput(),
        OciOutput(dest="x"),
        DockerOutput(),
        LocalOutput(dest="y"),
        TarOutput(dest="-"),
        CacheOnlyOutput(),
    )
    root = Descriptor(media_type="m", digest=Digest.of(b"x"), size=1)
    frontend = FrontendRequest(filename="Dockerfile", build_platform=default(), build_args=(("A", "1"),))
    request = BuildRequest(frontend=frontend, outputs=outputs, secrets=(SecretSource("s", variable="TOKEN"),))
    urls = {"": True, "https://host/x.git": True, "ssh://git@host/x.git": True}
    urls |= {"https://user:word@host/x.git": False, "https://bucket/x.tar?signature=1": False}
    for url, kept in urls.items():
        asked = msgspec.structs.replace(
            request,
            frontend=msgspec.structs.replace(frontend, context_url=url),
            cache_from=(LocalImport(src="/cache"),),
        )
        with BuildLog.open(str(tmp_path), asked, HistorySettings()) as log:
            log.keep(BuildOutcome(build_id=log.build_id, root=root))
        found = made_image(str(tmp_path), log.build_id)
        expected = MadeImage(request=msgspec.structs.replace(asked, cache_from=()), root=root)
        assert found == (expected if kept else None), url


def test_what_is_kept_can_be_repeated_in_another_folder_and_holds_no_proxy_password(tmp_path, monkeypatch):
    from trimaran.digest import Digest
    from trimaran.engine.history import made_image
    from trimaran.engine.request import BuildOutcome, BuildRequest, GivenFile
    from trimaran.graph.frontend import FrontendRequest
    from trimaran.oci.descriptor import Descriptor
    from trimaran.platforms import default
    from trimaran.settings import HistorySettings
    from trimaran.sources.given import AgentSource, SecretSource
    from trimaran.sources.lock import LockEntry

    monkeypatch.chdir(tmp_path)
    arguments = (("A", "me@home"), ("HTTP_PROXY", "http://me:hush@proxy"), ("https_proxy", "me:hush@proxy:1"))
    noted = LockEntry("http", "https://host/Dockerfile", "sha256:1")
    request = BuildRequest(
        frontend=FrontendRequest(build_platform=default(), build_args=(*arguments, ("no_proxy", "here"))),
        given=(GivenFile("dockerfile", "Dockerfile", b"FROM scratch"),),
        noted=(noted,),
        secrets=(SecretSource("s", path="word"), SecretSource("t", variable="T")),
        agents=(AgentSource("a", ("key",)), AgentSource()),
        build_ca=("ca.pem",),
    )
    with BuildLog.open(str(tmp_path), request, HistorySettings()) as log:
        log.keep(BuildOutcome(build_id=log.build_id, root=Descriptor(media_type="m", digest=Digest.of(b"x"), size=1)))
    made = made_image(str(tmp_path), log.build_id)
    assert made is not None
    assert made.lock == (noted,)
    assert made.request.given == request.given
    assert made.request.frontend.build_args == (("A", "me@home"), ("no_proxy", "here"))
    assert [secret.path for secret in made.request.secrets] == [f"{tmp_path}/word", ""]
    assert [agent.paths for agent in made.request.agents] == [(f"{tmp_path}/key",), ()]
    assert made.request.build_ca == (f"{tmp_path}/ca.pem",)
