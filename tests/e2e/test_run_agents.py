"""RUN --mount=type=ssh with a real ssh-agent and real keys."""

from __future__ import annotations

import os

import pytest
from stage import ssh

# Speaks the agent protocol with perl's core modules, which every Debian has: asks for the keys, signs with the first,
# and tries to take all keys away.
PERL = r"""use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un($ENV{SSH_AUTH_SOCK})) or die "no agent: $!";
sub ask { my $m = shift; syswrite S, pack("N/a*", $m); my $r = ""; while (length($r) < 4 || length($r) < 4 + unpack("N", $r)) {
  sysread(S, my $p, 65536) or die "hung up"; $r .= $p } return substr $r, 4 }
my $keys = ask(chr 11); my ($t, $n, $blob) = unpack("C N N/a*", $keys); print "keys $n\n"; exit unless $n;
my $signed = ask(chr(13) . pack("N/a* N/a* N", $blob, "data", 0)); print "signed ", ord($signed), "\n";
print "removed ", ord(ask(chr 19)), "\n"; print "added ", ord(ask(chr(17) . "x")), "\n"; print "keys ", unpack("x N", ask(chr 11)), "\n";
"""
DOCKERFILE = "FROM debian:12\nCOPY ask.pl /\nRUN {} perl /ask.pl\n"
ALL = ["keys 1", "signed 14", "removed 5", "added 5", "keys 1"]


def build(command, context, mount, *words, **options):
    context.write("ask.pl", PERL)
    context.dockerfile(DOCKERFILE.format(mount))
    said = command("build", "--progress=plain", "--no-cache", *words, ".", cwd=context.folder, **options).stderr
    lines = [line.split(" ", 2)[2] for line in said.splitlines() if line.startswith("#") and line.count(" ") >= 2]
    return [line for line in lines if line.split()[0] in {"keys", "signed", "removed", "added"}], said


@pytest.fixture
def key(either):
    """A private key of whoever runs the program."""
    return ssh.make_key(either.home)


@pytest.fixture
def agent(either, key):
    """A running ssh-agent of whoever runs the program, with that key: its socket."""
    with ssh.agent(either, key) as socket:
        yield socket


def test_the_default_agent(either, bases, context, agent):
    lines, _ = build(either, context, "--mount=type=ssh", "--ssh=default", env={"SSH_AUTH_SOCK": str(agent)})
    assert lines == ALL


def test_an_agent_by_its_socket_for_another_user(either, bases, context, agent):
    mount = "--mount=type=ssh,id=mine,uid=33,gid=33,mode=0600,required"
    lines, _ = build(
        either,
        context,
        f"{mount} stat -c '%a %u' $SSH_AUTH_SOCK && su -s /bin/sh www-data -c 'true' &&",
        f"--ssh=mine={agent}",
    )
    assert lines == ALL


def test_keys_from_files(either, bases, context, key):
    lines, _ = build(either, context, "--mount=type=ssh,id=k", f"--ssh=k={key}")
    assert lines == ALL
    key.chmod(0o644)
    lines, _ = build(either, context, "--mount=type=ssh,id=k", f"--ssh=k={key}")
    assert lines == ALL, "a key that others may read is as good as in BuildKit"


def test_nothing_of_it_is_in_the_image_or_the_next_step(trimaran, bases, context, tmp_path):
    key = ssh.make_key(tmp_path)
    context.dockerfile(
        "FROM alpine\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK\n"
        'RUN test ! -e /run/buildkit && test -z "$SSH_AUTH_SOCK"\n'
    )
    trimaran("build", f"--ssh=default={key}", "--no-cache", ".", cwd=context.folder)
    secret = key.read_text().splitlines()[2].encode()
    for where, _, files in os.walk(trimaran.home):
        for name in files:
            path = os.path.join(where, name)
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    assert secret not in file.read(), path


def test_missing_agents(either, bases, context):
    context.dockerfile("FROM alpine\nRUN --mount=type=ssh test ! -e /run/buildkit\n")
    either("build", ".", cwd=context.folder)
    context.dockerfile("FROM alpine\nRUN --mount=type=ssh,required true\n")
    said = either("build", ".", cwd=context.folder, exit_code=1).stderr
    assert "ssh agent default: not given" in said
    assert "--ssh default" in said
    said = either("build", "--ssh=default", ".", cwd=context.folder, exit_code=1).stderr
    assert "SSH_AUTH_SOCK is not set" in said
    said = either("build", "--ssh=default=/no/such", ".", cwd=context.folder, exit_code=1).stderr
    assert "no such file" in said


def test_a_key_with_a_passphrase_is_refused_with_the_way_out(trimaran, bases, context, tmp_path):
    key = ssh.make_key(tmp_path, phrase="phrase")
    context.write("not-a-key", "hello")
    for path in (key, context / "not-a-key"):
        said = build(trimaran, context, "--mount=type=ssh", f"--ssh=default={path}", exit_code=1)[1]
        assert f"{path} is no private key without a passphrase" in said
        assert f"ssh-add {path}" in said
