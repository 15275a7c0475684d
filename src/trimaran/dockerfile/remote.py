"""What a Dockerfile or a build names by URL: git repositories and HTTP(S) files, as ops (reference §3.5, §3.6)."""

from __future__ import annotations

import re

import msgspec

from trimaran.dockerfile.drafts import Draft, Drafts
from trimaran.dockerfile.instructions import Copy
from trimaran.dockerfile.problems import DockerfileError
from trimaran.errors import NotFound, UsageError
from trimaran.graph.frontend import Bridge, FrontendRequest
from trimaran.graph.ops import SCRATCH_INPUT, CopyAction, FileAction, FileOp, Op, SourceOp
from trimaran.graph.vertex import Edge, Hints, Vertex

KEEP_GIT_DIR = "BUILDKIT_CONTEXT_KEEP_GIT_DIR"
_CONTEXT_FILE = "context"
_LOGIN = re.compile(r"(https?://)[^\s/?#]*@", re.IGNORECASE)
_SCHEMES = ("http://", "https://", "git://", "ssh://")


class RemoteSource(msgspec.Struct, frozen=True):
    """What ADD fetches, and the path in it that is copied."""

    op: SourceOp
    path: str


def looks_remote(source: str) -> bool:
    """Worth a closer look: a scheme, or `user@host:`. Cheap: every source of every COPY is asked."""
    return source.lower().startswith(_SCHEMES) or "@" in source.partition(":")[0]


def remote_source(source: str, item: Copy) -> RemoteSource | None:
    """None for a path. DockerfileError where the instruction does not fit what its source is."""
    from trimaran.sources.git_url import parse_git_url

    try:
        git = parse_git_url(source)
    except UsageError as error:
        raise DockerfileError(error.message, hint=error.hint) from None
    if git is not None and not git.is_ambiguous:
        if not item.is_add:
            raise DockerfileError("source can't be a git ref for COPY", hint="ADD takes it")
        return RemoteSource(_git_op(source, item), "/")
    if not source.startswith(("http://", "https://")):
        return None
    if not item.is_add:
        raise DockerfileError("source can't be a URL for COPY", hint="ADD takes it")
    name = _url_name(source)
    return RemoteSource(http_op(source, name, item.checksum), "/" + name)


def check_checksum(item: Copy, remotes: int) -> None:
    """`--checksum` is of one source, which is fetched."""
    if not item.checksum:
        return
    if len(item.sources) != 1:
        raise DockerfileError("checksum can't be specified for multiple sources", hint="give each an ADD of its own")
    if remotes != 1:
        raise DockerfileError("checksum requires HTTP(S) or Git sources")


def _git_op(source: str, item: Copy) -> SourceOp:
    from trimaran.sources.git_url import parse_git_url, source_op

    url = parse_git_url(source)
    assert url is not None
    keep = item.keep_git_dir
    if url.keep_git_dir is not None:
        if keep is not None and keep != url.keep_git_dir:
            raise DockerfileError(
                "inconsistent keep-git-dir configuration", hint="say it once: in the URL or as a flag"
            )
        keep = url.keep_git_dir
    if item.checksum and url.checksum and item.checksum != url.checksum:
        raise DockerfileError(f'checksum mismatch "{item.checksum}" != "{url.checksum}"', hint="say it once")
    return source_op(url, keep_git_dir=bool(keep), checksum=item.checksum)


def http_op(url: str, name: str, checksum: str = "") -> SourceOp:
    attrs = [("http.filename", name)]
    if checksum:
        attrs.insert(0, ("http.checksum", _checksum(checksum)))
    return SourceOp(url, tuple(attrs))


def _checksum(text: str) -> str:
    from trimaran.digest import Digest
    from trimaran.errors import Corrupt

    try:
        return Digest.parse(text)
    except Corrupt:
        algorithm, colon, digits = text.partition(":")
    known = {"sha256": 64, "sha384": 96, "sha512": 128}
    cause = "invalid checksum digest format"
    if colon and digits and algorithm not in known:
        cause = "unsupported digest algorithm"
    elif colon and digits and len(digits) != known[algorithm]:
        cause = "invalid checksum digest length"
    raise DockerfileError(f"{cause}: {text[:150]}", hint="sha256: and the 64 digits of sha256sum")


def _url_name(url: str) -> str:
    """The last part of the URL's path, as the file is called when its destination is a folder."""
    from urllib.parse import unquote, urlsplit

    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        path = ""
    last = path.rstrip("/").rpartition("/")[2]
    return last if last not in ("", ".", "..") and last.isprintable() else "__unnamed__"


class ContextStep(msgspec.Struct, frozen=True):
    """One of the ops that make a context, each on the result of the one before."""

    op: Op
    name: str


class RemoteContext(msgspec.Struct, frozen=True):
    """A main context that is no folder of the client's. `filename`: the Dockerfile in it, where that is decided."""

    steps: tuple[ContextStep, ...]
    filename: str = ""

    @property
    def edge(self) -> Edge:
        made: tuple[Edge, ...] = ()
        for step in self.steps:
            made = (Vertex(step.op, made, hints=Hints(name=step.name)).edge(),)
        return made[0]

    def draft(self, drafts: Drafts) -> Draft:
        made: tuple[Draft, ...] = ()
        for step in self.steps:
            made = (drafts.add(step.op, made, name=step.name),)
        return made[0]


async def load_remote_context(request: FrontendRequest, bridge: Bridge) -> RemoteContext | None:
    """The context a URL (or an archive at hand) names; None for a folder. A URL of a plain file is its Dockerfile's."""
    if not request.context_url and not request.context_is_archive:
        return None
    git = _git_context(request)
    if git is not None:
        return _scoped(request, (git,))
    fetched = _archive_context(request) if request.context_is_archive else _web_context(request)
    ref = await bridge.solve(RemoteContext((fetched,)).edge)
    try:
        start = await ref.read_file(_CONTEXT_FILE, limit=1024)
    except NotFound:
        start = b""
    from trimaran.sources.archives import is_archive

    if not is_archive(start):
        return RemoteContext((fetched,), _CONTEXT_FILE)
    work = CopyAction(src="/" + _CONTEXT_FILE, dest="/", attempt_unpack=True)
    unpacked = FileOp((FileAction(input=SCRATCH_INPUT, secondary_input=0, output=0, work=work),))
    return _scoped(request, (fetched, ContextStep(unpacked, "[internal] unpack remote build context")))


def _git_context(request: FrontendRequest) -> ContextStep | None:
    from trimaran.sources.git_url import parse_git_url, source_op

    url = parse_git_url(request.context_url) if request.context_url else None
    if url is None:
        return None
    keep = dict(request.build_args).get(KEEP_GIT_DIR, "").lower() in ("1", "t", "true")
    return ContextStep(
        source_op(url, keep_git_dir=keep or bool(url.keep_git_dir)),
        f"[internal] load git source {shown_url(request.context_url)}",
    )


def _web_context(request: FrontendRequest) -> ContextStep:
    return ContextStep(http_op(request.context_url, _CONTEXT_FILE), "[internal] load remote build context")


def _archive_context(request: FrontendRequest) -> ContextStep:
    attrs = (("local.followpaths", f'["{_CONTEXT_FILE}"]'), ("local.sharedkeyhint", request.context_local))
    return ContextStep(SourceOp(f"local://{request.context_local}", attrs), "[internal] load remote build context")


def _scoped(request: FrontendRequest, steps: tuple[ContextStep, ...]) -> RemoteContext:
    """With `contextsubdir`, that folder of it alone."""
    if not request.context_subdir:
        return RemoteContext(steps)
    work = CopyAction(src="/" + request.context_subdir.lstrip("/"), dest="/", dir_copy_contents=True)
    op = FileOp((FileAction(input=SCRATCH_INPUT, secondary_input=0, output=0, work=work),))
    return RemoteContext((*steps, ContextStep(op, f"[internal] take {request.context_subdir} of the build context")))


def named_source(value: str) -> SourceOp | None:
    """The op of a named context that is a git repository or a file of the web; None for other schemes."""
    from trimaran.sources.git_url import parse_git_url, source_op

    url = parse_git_url(value)
    if url is not None and not url.is_ambiguous:
        return source_op(url, keep_git_dir=bool(url.keep_git_dir))
    return http_op(value, _CONTEXT_FILE) if value.startswith(("http://", "https://")) else None


def shown_url(text: str) -> str:
    """Without user and password in the HTTP(S) URLs of a text: they are credentials (T26)."""
    return _LOGIN.sub(r"\1", text)
