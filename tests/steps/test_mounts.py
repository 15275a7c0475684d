"""What of a mount enters the key, and what of a client's folder is shown."""

import asyncio

import pytest

from trimaran.digest import Digest
from trimaran.errors import Denied, NotFound
from trimaran.executor.sandbox import Networks, Sandbox
from trimaran.graph.ops import (
    CacheOptions,
    ExecMeta,
    ExecOp,
    Mount,
    MountType,
    NetMode,
    SecretEnv,
    SecretOptions,
    SshOptions,
)
from trimaran.graph.vertex import Hints, Vertex
from trimaran.platforms import default
from trimaran.sources.given import Client, Nothing
from trimaran.steps import mount_reads, mounts
from trimaran.steps.context import StepContext
from trimaran.steps.exec import ExecStep
from trimaran.steps.identity import exec_op_identity
from trimaran.steps.select import MissingSource
from trimaran.store.entries import FILE, FOLDER, SYMLINK, Entry, EntryList
from trimaran.store.folder import Inline
from trimaran.store.rootfs import Rootfs
from trimaran.store.store import open_store

ROOT = Mount(input=0, dest="/", output=0)


def op(*more, **fields):
    return ExecOp(meta=ExecMeta(args=("true",)), mounts=(ROOT, *more), **fields)


def identity(*more, **fields):
    return exec_op_identity(op(*more, **fields), default())


def test_identity_leaves_out_where_things_lie_and_nothing_else():
    shown = Mount(input=1, dest="/m", selector="a", readonly=True)
    cache = Mount(dest="/c", type=MountType.CACHE, cache=CacheOptions("one"))
    assert identity(shown) == identity(Mount(input=1, dest="/m", selector="b", readonly=True))
    assert identity(cache) == identity(Mount(dest="/c", type=MountType.CACHE, cache=CacheOptions("two")))
    different = [
        identity(),
        identity(shown),
        identity(cache),
        identity(Mount(input=1, dest="/other", readonly=True)),
        identity(Mount(input=1, dest="/m")),
        identity(Mount(dest="/m", readonly=True)),
        identity(Mount(dest="/m", type=MountType.TMPFS)),
        identity(Mount(dest="/m", type=MountType.TMPFS, tmpfs_size=1)),
        identity(Mount(dest="/m", type=MountType.SECRET, secret=SecretOptions("s"))),
        identity(Mount(dest="/m", type=MountType.SECRET, secret=SecretOptions("s", mode=0o444))),
        identity(Mount(dest="/m", type=MountType.SSH, ssh=SshOptions())),
        identity(secret_env=(SecretEnv("s", "S"),)),
        identity(secret_env=(SecretEnv("s", "T"),)),
    ]
    assert len(set(different)) == len(different)


class Given(Nothing):
    def __init__(self, **secrets):
        self._secrets = secrets

    async def get(self, identifier):
        return self._secrets.get(identifier)


@pytest.fixture
def show(tmp_path):
    """Run `work(context)` with a store."""

    def run(work, given=None):
        with open_store(str(tmp_path / "store")) as store:
            given = given or Given()
            context = StepContext(
                store=store,
                sources={},
                sandbox=lambda: None,
                slots=1,
                now=0,
                host=default(),
                client=Client(given, given),
            )
            return asyncio.run(work(context))

    return run


async def layer(context, mtime=0, **files):
    data = {name.replace("_", "/"): text.encode() for name, text in files.items()}
    entries = [Entry(p, FILE, 0o644, mtime=mtime, size=len(d), digest=str(Digest.of(d))) for p, d in data.items()]
    entries += [Entry("link", SYMLINK, 0o777, target="/part"), Entry("gone", SYMLINK, 0o777, target="nowhere")]
    entries += [Entry("part", FOLDER, 0o755)]
    return await context.store.layers.add(EntryList.of(entries), {p: Inline(d) for p, d in data.items()})


def keys(context, rootfs, *more):
    return mount_reads.reads(op(*more), [rootfs, rootfs], context)


def test_a_mount_reads_the_content_of_what_it_shows(show):
    async def work(context):
        one = Rootfs((await layer(context, part_f="1", other="1"),))
        later = Rootfs((await layer(context, mtime=10**9, part_f="1", other="2"),))
        changed = Rootfs((await layer(context, part_f="2", other="1"),))
        part = Mount(input=1, dest="/m", selector="/part")
        (key,) = await keys(context, one, part)
        assert (key.name, key.number) == ("mount /m: part", 1)
        assert key.value == (await keys(context, later, part))[0].value, "what is not shown and times do not matter"
        assert key.value != (await keys(context, changed, part))[0].value
        assert key.value == (await keys(context, one, Mount(input=1, dest="/m", selector="link/")))[0].value
        whole = await keys(context, one, Mount(input=1, dest="/m"))
        assert [each.value for each in whole] == [one.id]
        twice = await keys(context, one, part, Mount(input=1, dest="/n", selector="part"))
        assert [each.value for each in twice] == [key.value] * 2
        swapped = [Mount(input=1, dest="/m", selector="other"), Mount(input=1, dest="/n", selector="part/f")]
        there = [each.value for each in await keys(context, one, *swapped)]
        swapped = [Mount(input=1, dest="/m", selector="part/f"), Mount(input=1, dest="/n", selector="other")]
        assert there == [each.value for each in reversed(await keys(context, one, *swapped))]
        assert there[0] != there[1], "which is shown where is in the key"
        cache = Mount(input=1, dest="/c", selector="part", type=MountType.CACHE, cache=CacheOptions("c"))
        assert [each.value for each in await keys(context, one, cache)] == [key.value]
        assert await keys(context, one, Mount(dest="/s", type=MountType.SECRET, secret=SecretOptions("s"))) == []

    show(work)


@pytest.mark.parametrize("path", ["/no", "gone", "part/f/x", "link/../../../etc/passwd"])
def test_what_is_not_there_is_missing(show, path):
    async def work(context):
        rootfs = Rootfs((await layer(context, part_f="1"),))
        with pytest.raises(MissingSource):
            await keys(context, rootfs, Mount(input=1, dest="/m", selector=path))
        with pytest.raises(MissingSource):
            await mounts.show(rootfs, path, context)

    show(work)


def test_symlinks_are_followed_inside(show):
    async def work(context):
        rootfs = Rootfs((await layer(context, part_f="1"),))
        shown = await mounts.show(rootfs, "link/f", context)
        assert (shown.path, shown.is_folder) == ("part/f", False)
        assert (await mounts.show(rootfs, "../../link", context)).path == "part"

    show(work)


def prepared(context, *more, **fields):
    return mounts.prepare(op(*more, **fields), [Rootfs(()), Rootfs(())], context, None)


def test_secrets_are_asked_for_and_may_be_missing(show):
    secret = Mount(dest="/s", type=MountType.SECRET, secret=SecretOptions("s"))
    optional = Mount(dest="/o", type=MountType.SECRET, secret=SecretOptions("o", optional=True))
    variables = (SecretEnv("s", "S"), SecretEnv("o", "O", optional=True))

    async def work(context):
        found = await prepared(context, optional, secret, secret_env=variables)
        assert found.mounts == (secret,)
        assert found.secrets == {secret: b"value"}
        assert found.variables == ("S=value",)

    show(work, Given(s=b"value"))

    async def missing(context):
        with pytest.raises(NotFound, match="secret s: not found") as caught:
            await prepared(context, secret)
        assert "--secret id=s,src=FILE" in caught.value.hint
        with pytest.raises(NotFound, match="secret s: not found"):
            await prepared(context, secret_env=variables)

    show(missing)


def test_agents_may_be_missing(show):
    async def work(context):
        optional = Mount(dest="/a", type=MountType.SSH, ssh=SshOptions("", optional=True))
        assert (await prepared(context, optional)).mounts == ()
        with pytest.raises(NotFound, match="ssh agent default: not given"):
            await prepared(context, Mount(dest="/a", type=MountType.SSH, ssh=SshOptions("")))

    show(work)


def test_the_size_of_shared_memory_is_no_mount(show):
    async def work(context):
        size = Mount(dest="/dev/shm", type=MountType.TMPFS, tmpfs_size=5)
        other = Mount(dest="/dev/shm/x", type=MountType.TMPFS)
        assert (await prepared(context, size, other)).mounts == (other,)

    show(work)


def test_a_refused_mode_is_refused_before_anything_runs():
    given = Given()
    context = StepContext(
        store=None,
        sources={},
        sandbox=lambda: Sandbox(lambda: None, Networks("/", rootless=False)),
        slots=1,
        now=0,
        host=default(),
        client=Client(given, given),
    )
    ExecStep(Vertex(op(), hints=Hints(name="x")), context)
    with pytest.raises(Denied, match=r"network\.host is not allowed"):
        ExecStep(Vertex(op(network=NetMode.HOST), hints=Hints(name="x")), context)
