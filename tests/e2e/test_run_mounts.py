"""RUN --mount in every form, with real roots, sockets and memory, as root and as an ordinary account."""

from __future__ import annotations

import os
import re

import pytest
from stage.searching import Watching, places_with
from stage.watching import Screen


def build(command, context, text, *words, cached=False, **options):
    """Build the Dockerfile `text`; what was said."""
    context.dockerfile(text)
    always = [] if cached else ["--no-cache"]
    return command("build", "--progress=plain", *always, *words, ".", cwd=context.folder, **options).stderr


def output(said):
    """The lines that steps wrote, without numbers and times."""
    return [match[1] for match in re.finditer(r"^#\d+ \d+\.\d+ (.*)$", said, re.MULTILINE)]


# -- bind --------------------------------------------------------------------------------------------------------------


def test_bind_of_the_context(either, bases, context):
    context.write("sub/hello", "from the context\n")
    said = build(
        either,
        context,
        """FROM alpine
RUN --mount=type=bind,target=/ctx cat /ctx/sub/hello && ! touch /ctx/new
RUN --mount=source=sub,target=/ctx,rw echo changed > /ctx/hello && cat /ctx/hello
RUN --mount=source=sub/hello,target=/one cat /one
RUN test ! -e /ctx && test ! -e /one
""",
    )
    assert output(said).count("from the context") == 2
    assert "changed" in output(said)
    assert "Read-only file system" in said
    assert (context / "sub/hello").read_text() == "from the context\n"


def test_bind_shows_what_the_ignore_file_lets_through(trimaran, bases, context):
    context.write("kept", "k")
    context.write("secret/key", "private")
    context.write(".dockerignore", "secret\n")
    said = build(trimaran, context, "FROM alpine\nRUN --mount=target=/c find /c -type f\n")
    assert {line for line in output(said) if line.startswith("/c/")} == {"/c/kept", "/c/.dockerignore", "/c/Dockerfile"}
    said = build(trimaran, context, "FROM alpine\nRUN --mount=source=secret,target=/c find /c -type f\n", exit_code=1)
    assert '"/secret": not found' in said
    assert '.dockerignore excludes it with the pattern "secret"' in said


LINKS = """FROM alpine AS made
RUN mkdir -p /data/in && echo inside > /data/in/f && ln -s /data /absolute && ln -s absolute /chain && \\
    ln -s ../../../../../../data /data/climbs && ln -s /nowhere /dangling && ln -s / /data/root
FROM alpine
"""


def test_bind_of_a_stage_follows_symlinks_inside_it_only(either, bases, context):
    """T06 (CVE-2024-1753): a symlink of the source is followed as if the source were the whole world."""
    (either.home / "victim").write_text("of the host")
    said = build(
        either,
        context,
        LINKS
        + f"""RUN --mount=from=made,source=/absolute/in,target=/m cat /m/f
RUN --mount=from=made,source=/chain/in/f,target=/m cat /m
RUN --mount=from=made,source=/data/climbs/in,target=/m cat /m/f
RUN --mount=from=made,source=/data/root,target=/m cat /m/data/in/f && test ! -e /m{either.home}
RUN --mount=from=made,source=../../../data/in,target=/m,rw echo mine > /m/f && cat /m/f
RUN --mount=from=made,source=/data/in,target=/m cat /m/f
""",
    )
    assert [line for line in output(said) if line in ("inside", "mine")] == ["inside"] * 4 + ["mine", "inside"]


def test_a_dangling_source_is_missing(trimaran, bases, context):
    text = LINKS + "RUN --mount=from=made,source=/dangling,target=/m ls /m\n"
    assert '"/dangling": not found' in build(trimaran, context, text, exit_code=1)


def test_bind_of_an_image_and_of_a_named_context(trimaran, bases, context, tmp_path):
    (tmp_path / "named").mkdir()
    (tmp_path / "named/f").write_text("named")
    said = build(
        trimaran,
        context,
        "FROM scratch AS empty\nFROM alpine\n"
        "RUN --mount=from=debian:12,target=/d,source=/usr/lib cat /d/os-release\n"
        "RUN --mount=from=other,target=/n cat /n/f && ls -ln /n/f\n",
        f"--build-context=other={tmp_path / 'named'}",
    )
    assert 'VERSION_ID="12"' in output(said)
    assert any(line.startswith("named") for line in output(said))


def test_what_is_shown_is_in_the_key_and_nothing_else(trimaran, bases, context):
    context.write("read/f", "1")
    context.write("other", "1")
    text = """FROM alpine AS made
COPY other /other
RUN mkdir /part && echo part > /part/f
FROM alpine
RUN --mount=source=read,target=/m cat /m/f > /a
RUN --mount=from=made,source=/part,target=/m cat /m/f > /b
"""

    def cached():
        said = build(trimaran, context, text, cached=True)
        steps = dict(re.findall(r"^#(\d+) \[stage-1 [23]/3\] RUN --mount=(\S+?),", said, re.MULTILINE))
        return {steps[n] for n in steps if f"#{n} CACHED" in said}

    assert cached() == set()
    context.write("other", "2")
    assert cached() == {"source=read", "from=made"}, "neither shows `other`"
    context.write("read/f", "2")
    assert cached() == set(), "the first shows another file, and what the second stands on is another"
    assert cached() == {"source=read", "from=made"}
    os.rename(context / "read", context / "moved")
    assert build(trimaran, context, text.replace("source=read", "source=moved"), cached=True).count("CACHED") >= 3


# -- cache -------------------------------------------------------------------------------------------------------------


def test_cache_is_kept_between_builds_and_leaves_nothing_in_the_image(either, bases, context):
    text = "FROM alpine\nRUN --mount=type=cache,target=/cache/deep echo x >> /cache/deep/n; wc -l /cache/deep/n\n"
    assert "1 /cache/deep/n" in output(build(either, context, text))
    assert "2 /cache/deep/n" in output(build(either, context, text + "RUN test ! -e /cache\n"))
    other = text.replace("target=", "id=other,target=")
    assert "1 /cache/deep/n" in output(build(either, context, other))
    spaced = ("--build-arg", "BUILDKIT_CACHE_MOUNT_NS=ns")
    assert "1 /cache/deep/n" in output(build(either, context, text, *spaced))
    assert "3 /cache/deep/n" in output(build(either, context, text.replace("target=", "ro=false,target=")))


def test_cache_mode_owner_and_read_only(either, bases, context):
    said = build(
        either,
        context,
        """FROM alpine
RUN --mount=type=cache,target=/c stat -c '%a %u %g' /c && touch /c/f
RUN --mount=type=cache,target=/c,ro ls /c && ! touch /c/g
RUN --mount=type=cache,target=/o,uid=7,gid=8,mode=0710 stat -c '%a %u %g' /o && touch /o/own
RUN --mount=type=cache,target=/o,uid=7,gid=8,mode=0710 ls /o
""",
    )
    assert [line for line in output(said) if "touch" not in line] == ["755 0 0", "f", "710 7 8", "own"]


def test_cache_begins_with_a_stage(either, bases, context):
    text = """FROM alpine AS seed
RUN mkdir -p /s/sub && echo seeded > /s/sub/f && chown -R 3:4 /s/sub && chmod 750 /s/sub && ln -s /s/sub /link
FROM alpine
RUN --mount=type=cache,id=x,from=seed,source=/link,target=/c cat /c/f; stat -c '%a %u %g' /c; echo mine > /c/f
RUN --mount=type=cache,id=x,from=seed,source=/s/sub,target=/c cat /c/f
RUN --mount=from=seed,source=/s/sub,target=/c cat /c/f
RUN --mount=type=cache,id=x,target=/c ls -A /c | wc -l
"""
    assert output(build(either, context, text)) == ["seeded", "750 3 4", "mine", "seeded", "0"]


def test_source_of_a_cache_is_a_path_in_it(either, bases, context):
    """Without a stage to begin with, `source` is what steps before have put into the cache itself."""
    text = """FROM alpine
RUN --mount=type=cache,id=x,target=/c mkdir -p /c/sub/in && echo here > /c/sub/f && ln -s /sub/in /c/link && ln -s f /c/sub/l
RUN --mount=type=cache,id=x,source=/sub,target=/d cat /d/f && touch /d/more
RUN --mount=type=cache,id=x,source=link,target=/d --mount=type=tmpfs,target=/d/t touch /d/through
RUN --mount=type=cache,id=x,source=/sub/l,target=/file cat /file
RUN --mount=type=cache,id=x,target=/c find /c -type f -o -name t | sort
"""
    assert output(build(either, context, text)) == [
        "here",
        "here",
        "/c/sub/f",
        "/c/sub/in/through",
        "/c/sub/more",
    ]
    said = build(either, context, "FROM alpine\nRUN --mount=type=cache,source=/no,target=/c true\n", exit_code=1)
    assert '"/no": not found' in said
    assert "hint: the cache mount has no such folder yet" in said


@pytest.mark.parametrize("link", ["HOST", "../../../../../../../..HOST", "chain"])
def test_links_in_a_cache_never_lead_out_of_it(either, bases, context, link):
    """T02, T06, T08: what a step leaves in a cache is a stranger's to the next one that mounts a path of it."""
    (either.home / "victim").mkdir()
    (either.home / "victim/f").write_text("of the host")
    target = link.replace("HOST", f"{either.home}/victim")
    text = f"""FROM alpine
RUN --mount=type=cache,id=x,target=/c ln -s {target} /c/out && ln -s {either.home}/victim /c/chain
RUN --mount=type=cache,id=x,source=/out,target=/d touch /d/x; cat /d/f
"""
    said = build(either, context, text, exit_code=1)
    assert '"/out": not found' in said
    assert os.listdir(either.home / "victim") == ["f"]


HOSTILE_IDS = ("../../../../etc", "/etc", "a/../../b", "x" * 300, "ü", "a:b", "a,ro", "--rm")


def test_hostile_cache_ids_are_names_and_nothing_more(trimaran, bases, context):
    """T08 (CVE-2024-9675)."""
    lines = [f'RUN --mount=type=cache,target=/c,\\"id={each}\\" ls -A /c | wc -l; touch /c/f' for each in HOSTILE_IDS]
    said = build(trimaran, context, "FROM alpine\n" + "\n".join(lines) + "\n")
    assert output(said) == ["0"] * len(HOSTILE_IDS)
    assert len(os.listdir(trimaran.root / "cache-mounts")) == len(HOSTILE_IDS)


TWO = """FROM alpine AS a
RUN --mount=type=cache,id=s,sharing={0},target=/c {1}
FROM alpine AS b
RUN --mount=type=cache,id=s,sharing={0},target=/c sleep 0 && {1}
FROM alpine
RUN --mount=from=a,target=/a --mount=from=b,target=/b true
"""
# Who is alone says so: it looks whether somebody else is in while it is in.
ALONE = "mkdir /c/in 2>/dev/null && sleep 1 && rmdir /c/in && echo alone || echo together"


@pytest.mark.parametrize("sharing", ["locked", "private", "shared"])
def test_cache_sharing(trimaran, bases, context, sharing):
    said = output(build(trimaran, context, TWO.format(sharing, ALONE)))
    assert sorted(said) == (["alone", "together"] if sharing == "shared" else ["alone", "alone"])
    assert len(os.listdir(trimaran.root / "cache-mounts")) == (2 if sharing == "private" else 1)


@pytest.mark.parametrize(("sharing", "seen"), [("shared", "1"), ("private", "0"), ("locked", "1")])
def test_cache_sharing_between_builds(either, bases, context, sharing, seen):
    """Two processes of one store: what the second sees while the first is in its step, or after it has waited for it."""
    text = 'FROM alpine\nARG STEP\nRUN --mount=type=cache,sharing={},target=/c sh -c "$STEP"\n'
    context.dockerfile(text.format(sharing))
    words = ("build", "--progress=plain", "--no-cache", ".", "--build-arg")
    seconds = 1 if sharing == "locked" else 60
    first = either.start(*words, f"STEP=touch /c/f; echo begun; sleep {seconds}", cwd=context.folder)
    Screen(first).until(r"^#\d+ \S+ begun$")
    said = either(*words, "STEP=ls /c | wc -l", cwd=context.folder).stderr
    assert output(said) == [seen]
    if sharing == "locked":
        first.communicate(timeout=60)
        assert first.returncode == 0
    else:
        assert first.poll() is None, "the second did not wait"
        first.terminate()
        first.communicate(timeout=60)
    assert len(os.listdir(either.root / "cache-mounts")) == (2 if sharing == "private" else 1)


def test_nested_mounts_leave_no_stub_in_a_cache(trimaran, bases, context):
    context.write("f", "bound\n")
    nested = "--mount=type=cache,target=/c --mount=source=f,target=/c/sub/f --mount=type=tmpfs,target=/c/t"
    text = f"FROM alpine\nRUN {nested} cat /c/sub/f\nRUN --mount=type=cache,target=/c find /c -mindepth 1 | wc -l\n"
    assert output(build(trimaran, context, text)) == ["bound", "0"]


def test_cache_mounts_are_listed_counted_and_removed(either, bases, context):
    text = """FROM alpine
RUN --mount=type=cache,target=/big head -c 3000000 /dev/zero > /big/f
RUN --mount=type=cache,id=small,target=/s touch /s/f
"""
    build(either, context, text)
    listed = either("cache-mounts", "ls").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["ID", "/big", "small"]
    assert "3.0" in listed[1]
    usage = either("du", "--filter", "type=exec.cachemount", "--verbose").stdout
    assert 'with id "//big"' in usage
    assert "exec.cachemount" in usage
    assert either("cache-mounts", "rm", "/big").stdout.strip() == "/big"
    assert "/big" not in either("cache-mounts", "ls").stdout
    assert "nothing" in either("cache-mounts", "rm", "nothing", exit_code=1).stderr
    freed = either("prune", "--force", "--filter", "type=exec.cachemount").stdout
    assert freed.count("true") == 1
    assert either("cache-mounts", "ls", "--format=json").stdout == ""
    build(either, context, text)
    assert either("cache-mounts", "rm", "--all").stdout.split() == ["/big", "small"]


# -- tmpfs -------------------------------------------------------------------------------------------------------------


def test_tmpfs(either, bases, context):
    text = """FROM alpine
RUN mkdir /has && echo below > /has/f
RUN --mount=type=tmpfs,target=/has --mount=type=tmpfs,target=/new/t,size=1m ls -A /has | wc -l && \\
    touch /has/gone && ! head -c 2000000 /dev/zero > /new/t/f
RUN ls -A /has && test ! -e /new
"""
    assert [line for line in output(build(either, context, text)) if "head" not in line] == ["0", "f"]


def test_options_cannot_be_injected_by_names(either, bases, context):
    """T07 (CVE-2024-9407): commas, equals signs and spaces of a path stay in the path."""
    context.write("a,rw,b=c", "comma\n")
    text = r"""FROM alpine
RUN --mount=type=tmpfs,\"target=/x,exec,suid,size=1\" grep -F '/x,exec,suid' /proc/mounts
RUN --mount=type=bind,\"source=a,rw,b=c\",\"target=/y,rw,bind-propagation=shared\" cat /y*; ! touch /y*
RUN --mount=type=cache,\"target=/z,dev\",\"id=i,mode=0777\" stat -c %a /z*
"""
    said = output(build(either, context, text))
    assert said[0].startswith("tmpfs /x,exec,suid,size=1 tmpfs rw,nosuid,nodev")
    assert any("comma" in line for line in said)
    assert said[-1] == "755"
    words = "--mount=type=bind,target=/m,bind-propagation=rshared"
    assert "bind-propagation" in build(either, context, f"FROM alpine\nRUN {words} true\n", exit_code=1)


# -- mount targets of hostile images -----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["abs", "up", "chain"])
def test_targets_behind_symlinks_stay_inside(either, bases, context, target):
    """T03, T11, T13: what is mounted, made and removed for a mount lies in the root, wherever symlinks of it point."""
    victim = either.home / "victim"
    victim.mkdir(mode=0o777)
    victim.chmod(0o777)
    links = {
        "abs": f"ln -s {victim} /m",
        "up": f"ln -s ../../../../../..{victim} /m",
        "chain": f"ln -s {victim} /a && ln -s a /m",
    }
    context.write("f", "bound")
    text = f"""FROM alpine AS base
RUN {links[target]}
FROM base
RUN --mount=source=f,target=/m/bound --mount=type=cache,target=/m/cache --mount=type=secret,id=s,target=/m/secret \\
    --mount=type=tmpfs,target=/m/tmpfs cat {victim}/bound && touch /m/kept && rm /m && ln -s / /m
RUN find {victim} -mindepth 1
"""
    said = output(build(either, context, text, "--secret=id=s,env=S", env={"S": "x"}))
    assert f"{victim}/kept" in said
    assert not {f"{victim}/{name}" for name in ("bound", "cache", "secret", "tmpfs")} & set(said)
    assert os.listdir(victim) == []


def test_a_step_cannot_lead_the_removal_of_stubs_out(either, bases, context):
    """T03 (CVE-2024-23652): the parent of a mount point becomes a symlink to the host while the step runs."""
    victim = either.home / "victim"
    (victim / "stub").mkdir(parents=True)
    context.write("f")
    text = f"""FROM alpine
RUN --mount=type=tmpfs,target=/p/stub mv /p /q && ln -s {victim} /p || true
RUN --mount=source=f,target=/p2/stub mv /p2 /q2 && ln -s {victim} /p2 || true
"""
    build(either, context, text)
    assert os.listdir(victim) == ["stub"]


def test_the_target_may_not_be_proc(trimaran, bases, context):
    context.write("f")
    for links, target in (("true", "/proc/self/attr"), ("ln -s /proc /p", "/p/self"), ("true", "/x/../proc")):
        text = f"FROM alpine AS b\nRUN {links}\nFROM b\nRUN --mount=type=tmpfs,target={target} true\n"
        assert "it leads to /proc" in build(trimaran, context, text, exit_code=1)


def test_a_swapping_step_beside_cannot_lead_a_mount_out(either, bases, context):
    """T02, T09 (CVE-2024-23651, CVE-2024-11218): one step swaps a folder for a symlink where another's mounts go."""
    victim = either.home / "victim"
    victim.mkdir()
    (victim / "f").write_text("of the host")
    context.write("f", "bound\n")
    swap = (
        f"for i in $(seq 3000); do mkdir /c/sub; rmdir /c/sub; rm -rf /c/sub; ln -s {victim} /c/sub; rm -f /c/sub; done"
    )
    mounts = "--mount=type=cache,id=c,target=/c --mount=source=f,target=/c/sub/f"
    tries = "\n".join(f"RUN {mounts} cat /c/sub/f || true # {n}" for n in range(5))
    text = f"""FROM alpine AS swapper
RUN --mount=type=cache,id=c,target=/c {swap}; true
FROM alpine AS victim
{tries}
FROM alpine
RUN --mount=from=swapper,target=/a --mount=from=victim,target=/b true
"""
    said = build(either, context, text, exit_code=None)
    assert "of the host" not in "\n".join(output(said))
    assert (victim / "f").read_text() == "of the host"
    assert os.listdir(victim) == ["f"]


def test_many_and_long_mounts(trimaran, bases, context):
    """T11: more, and longer, than one message to a runtime's child once held."""
    context.write("f", "x")
    long = "/" + "/".join(["d" * 200] * 4)
    mounts = " ".join(f"--mount=source=f,target={long}/{n}" for n in range(60))
    said = build(
        trimaran, context, f"FROM alpine\nRUN {mounts} find /d* -type f | wc -l\nRUN ls / | grep -c ddd || true\n"
    )
    assert output(said) == ["60", "0"]


# -- secrets -----------------------------------------------------------------------------------------------------------

SECRET = "correct-horse-battery-staple-3141592653"


def test_a_secret_is_nowhere_but_in_its_step(either, bases, context, tmp_path):
    """T59: not in a layer, key, log, history, event, name of a file, command line, or another step."""
    secret = either.home / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o644)
    text = """FROM alpine
RUN --mount=type=secret,id=file wc -c < /run/secrets/file && stat -c '%a %u %g' /run/secrets/file && \\
    ! touch /run/secrets/file && ! echo x > /run/secrets/file && grep /run/secrets/file /proc/mounts
RUN --mount=type=secret,id=var,env=TOKEN sleep 0.3; echo ${#TOKEN} && test ! -e /run/secrets
RUN --mount=type=secret,id=file,target=/deep/er/file,mode=0440,uid=5,gid=6 stat -c '%a %u %g' /deep/er/file
RUN --mount=type=secret,id=file,target=/both,env=BOTH test "$(cat /both)" = "$BOTH" && echo equal
RUN test ! -e /deep && test ! -e /both && test ! -e /run/secrets && env | grep -c TOKEN || true
"""
    words = (f"--secret=id=file,src={secret}", "--secret=id=var,env=MY_TOKEN", "-t", "with:secret")
    with Watching(SECRET, ours=f"TRIMARAN_ROOT={either.root}") as watching:
        said = build(either, context, text, *words, env={"MY_TOKEN": SECRET})
    lines = output(said)
    assert lines[0] == str(len(SECRET))
    assert lines[1] == "400 0 0"
    mounted = next(line for line in lines if line.startswith("tmpfs"))
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(mounted.split()[3].split(","))
    assert lines[-4:] == [str(len(SECRET)), "440 5 6", "equal", "0"]
    assert SECRET not in said
    assert {sighting.where for sighting in watching.seen} <= {"environ"}
    secret.unlink()
    assert places_with(either.home, SECRET) == []
    either("build", "-o", f"type=oci,dest={either.home}/image.tar,compression=uncompressed", *words[1:2], ".",
           cwd=context.folder, exit_code=None, env={"MY_TOKEN": SECRET})  # fmt: skip
    assert places_with(either.home, SECRET) == []


def test_a_secret_of_a_failed_or_killed_step_is_gone_too(trimaran, bases, context):
    text = "FROM alpine\nRUN --mount=type=secret,id=s --mount=type=secret,id=s,env=S {}\n"
    words = ("--secret=id=s,env=S",)
    build(trimaran, context, text.format("exit 3"), *words, env={"S": SECRET}, exit_code=None)
    assert places_with(trimaran.home, SECRET) == []
    context.dockerfile(text.format("echo started && sleep 60"))
    running = trimaran.start(
        "build", "--progress=plain", "--no-cache", *words, ".", cwd=context.folder, env={"S": SECRET}
    )
    assert running.stderr is not None
    for line in running.stderr:
        if line.rstrip().endswith(" started"):
            break
    running.kill()
    running.communicate()
    assert places_with(trimaran.home, SECRET) == []


def test_the_content_of_a_secret_is_not_in_the_key(trimaran, bases, context):
    text = "FROM alpine\nRUN --mount=type=secret,id=s wc -c < /run/secrets/s\n"
    assert output(build(trimaran, context, text, "--secret=id=s,env=S", env={"S": "1"}, cached=True)) == ["1"]
    assert "CACHED" in build(trimaran, context, text, "--secret=id=s,env=S", env={"S": "22"}, cached=True)
    assert "CACHED" in build(trimaran, context, text, cached=True)


def test_missing_and_unusable_secrets(either, bases, context):
    optional = "FROM alpine\nRUN --mount=type=secret,id=s test ! -e /run/secrets/s\n"
    build(either, context, optional)
    said = build(either, context, optional.replace("id=s ", "id=s,required "), exit_code=1)
    assert "secret s: not found" in said
    assert "--secret id=s,src=FILE" in said
    (either.home / "big").write_bytes(b"x" * (500 * 1024 + 1))
    assert "500 KiB" in build(either, context, optional, f"--secret=id=s,src={either.home}/big", exit_code=1)
    assert "no such file" in build(either, context, optional, "--secret=id=s,src=/no/where", exit_code=1)
    (either.home / "binary").write_bytes(b"\0\xff")
    as_variable = "FROM alpine\nRUN --mount=type=secret,id=s,env=S true\n"
    assert "no text" in build(either, context, as_variable, f"--secret=id=s,src={either.home}/binary", exit_code=1)


def test_an_id_alone_names_a_variable_or_a_file(trimaran, bases, context):
    text = "FROM alpine\nRUN --mount=type=secret,id=NAME tr a-z A-Z </run/secrets/NAME\n"
    assert output(build(trimaran, context, text, "--secret=id=NAME", env={"NAME": "variable"})) == ["VARIABLE"]
    context.write("NAME", "file")
    assert output(build(trimaran, context, text, "--secret=id=NAME")) == ["FILE"]
    assert output(build(trimaran, context, text, "--secret=id=NAME,type=env,src=OTHER", env={"OTHER": "o"})) == ["O"]
