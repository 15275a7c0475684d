"""From argv to an exit code: find the command, read its flags, run it, say what went wrong.

The exit codes of the whole program are set here and nowhere else (buildx's, reference §1.1).
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from trimaran.cli import commands
from trimaran.cli import help as pages
from trimaran.cli.invocation import Invocation, for_log, read
from trimaran.cli.options import BUILDER, DEBUG, Command, FlagError, HelpAsked, Values, parse
from trimaran.errors import Cancelled, NotCached, NotFound, TrimaranError, Unsupported, UsageError
from trimaran.linux import ids

OK = 0
FAILED = 1
NOT_CACHED = 3
INTERNAL = 100
EXHAUSTED = 102
BAD_FLAG_IN_PLUGIN = 125
INTERRUPTED = 130

_SPACE = "free space with `trimaran prune`"
_FILES = "raise the number of files that may be open: `ulimit -n`"
_USED_UP = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.ENOMEM: "free memory, or let fewer steps run at once: --jobs",
}
"""What may run out at any place, and what helps."""
_BROKEN = frozenset({errno.EIO, errno.EROFS, errno.ESTALE, errno.EREMOTEIO, errno.EUCLEAN})
"""What any call may say of a disk that fails, or of a file system that was made read-only for it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (argv[0] is the program) and return its exit code. Never raises."""
    ids.close_to_others()
    words = list(sys.argv if argv is None else argv)
    debug = "-D" in words or "--debug" in words
    try:
        return _dispatch(words)
    except BrokenPipeError:
        # Whoever read our output has left (`| head`): not worth a word, and nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("ERROR: interrupted\n")
        return INTERRUPTED
    except TrimaranError as error:
        return report(error, debug=debug)
    except OSError as error:
        return _system_error(error)
    except Exception:  # noqa: BLE001 - the last line of defence: a bug is shown, with the code buildx gives it
        return _bug(debug=True)


def _dispatch(words: list[str]) -> int:
    invocation = read(words, dict(os.environ))
    if invocation.plugin:
        os.environ.update(invocation.environment)
    if invocation.argv and invocation.argv[0].startswith("__complete"):
        from trimaran.cli import complete

        request, *typed = invocation.argv
        return complete.run(request, typed[1:] if invocation.plugin else typed, invocation)
    if invocation.argv[:1] in {("--version",), ("-v",)}:
        from trimaran.cli.version import line

        invocation.out(line())
        return OK
    try:
        root = parse((BUILDER, DEBUG), invocation.argv, environment=invocation.environment, interspersed=False)
    except HelpAsked:
        invocation.out(root_help(invocation))
        return OK
    except FlagError as error:
        return _bad_flag(error, invocation, f"Usage:  {invocation.program} [OPTIONS] COMMAND")
    if not root.arguments:
        invocation.out(root_help(invocation))
        return OK
    name, rest = _resolve(list(root.arguments), invocation)
    if not name:
        return OK
    before = [word for flag in ("builder",) if root.given(flag) for word in (f"--{flag}", root.text(flag))]
    if sys.platform != "linux" and name not in commands.ANYWHERE:
        from trimaran.builders.drivers.no_engine import needs_linux

        raise needs_linux(f'run "{name}"')
    command = commands.command(name)
    before = before if any(flag.name == "builder" for flag in command.flags) else []
    debug = invocation.debug or root.boolean("debug")
    return _run(command, [*before, *rest], invocation, debug)


def _resolve(words: list[str], invocation: Invocation) -> tuple[str, list[str]]:
    """The command's name and its own words; "" when help of a group was all that was asked."""
    group = words[0] if words[0] in commands.GROUPS else ""
    if group:
        try:
            values = parse((BUILDER, DEBUG), words[1:], environment=invocation.environment, interspersed=False)
        except HelpAsked:
            values = None
        if values is None or not values.arguments:
            invocation.out(group_help(invocation, group))
            return "", []
        words = [group, *values.arguments]
    name, taken = commands.find(words)
    if name:
        return name, words[taken:]
    unknown = words[1] if group else words[0]
    path = f"{group} {unknown}".lstrip()
    if path in commands.UNSUPPORTED:
        hand_over(f'command "{path}"', invocation)
        raise Unsupported(f'run "{path}": not done by the embedded builder', hint=commands.UNSUPPORTED[path])
    invocation.out(group_help(invocation, group) if group else root_help(invocation))
    known = [row[0] for row in commands.subcommands(group)] if group else [*commands.TABLE, *commands.GROUPS]
    from trimaran.spelling import nearest

    guess = nearest(unknown, known)
    raise UsageError(f'unknown command: "{unknown}"', hint=f"did you mean {guess}?" if guess else "")


def _run(command: Command, words: list[str], invocation: Invocation, debug: bool) -> int:
    try:
        values = parse(command.flags, words, environment=invocation.environment, interspersed=command.interspersed)
    except HelpAsked:
        invocation.out(pages.command_help(invocation.program, command, terminal_width()))
        return OK
    except FlagError as error:
        return _bad_flag(error, invocation, pages.see_help(invocation.program, command))
    check_arguments(command, values, invocation)
    builder = values.text("builder") if any(flag.name == "builder" for flag in command.flags) else ""
    if builder not in commands.EMBEDDED_BUILDERS:
        hand_over(f'builder "{builder}"', invocation)
        raise NotFound(f'find builder "{builder}": no such builder', hint="the embedded builder is called trimaran")
    for note in values.notes:
        invocation.err(f"WARNING: {note}\n")
    if debug or (any(flag.name == "debug" for flag in command.flags) and values.boolean("debug")):
        import msgspec

        invocation = msgspec.structs.replace(invocation, debug=True)
    code: int = commands.load(command.path).run(values, invocation)
    return code


def hand_over(what: str, invocation: Invocation) -> None:
    """As docker's plugin, what Trimaran has not goes to the buildx it displaced; returns only when there is none."""
    if invocation.program == "trimaran":
        return
    from trimaran.cli import docker_plugin

    if docker_plugin.Plugin(invocation.environment).displaced():
        docker_plugin.hand_over(invocation.words, invocation.environment, what)


def check_arguments(command: Command, values: Values, invocation: Invocation) -> None:
    least, most = command.arguments
    count = len(values.arguments)
    if count >= least and (most < 0 or count <= most):
        return
    if most < 0:
        wanted = f"at least {least} argument"
        plural = least != 1
    elif least == most:
        wanted = f"{least} argument"
        plural = least != 1
    elif count > most:
        wanted = f"at most {most} argument"
        plural = most != 1
    else:
        wanted = f"at least {least} argument"
        plural = least != 1
    path = f"{invocation.program} {command.path}"
    program = "docker: " if invocation.plugin else f"{invocation.program}: "
    raise UsageError(
        f"{program}'{path}' requires {wanted}{'s' if plural else ''}\n\n{pages.see_help(invocation.program, command)}"
    )


def _bad_flag(error: FlagError, invocation: Invocation, usage: str) -> int:
    """Docker prints its plugins' flag errors bare and exits 125; buildx by itself prefixes them and exits 1."""
    hint = f"hint: {error.hint}\n" if error.hint else ""
    if invocation.plugin:
        invocation.err(f"{error.message}\n{hint}\n{usage}\n")
        return BAD_FLAG_IN_PLUGIN
    invocation.err(f"ERROR: {error.message}\n{hint}\n{usage}\n")
    return FAILED


def report(error: TrimaranError, *, debug: bool) -> int:
    """Print an error a person can act on, its place in the source first (reference §1.1, §3.10)."""
    from trimaran.snippet import snippet

    text = ""
    if debug:
        import traceback

        text = "".join(traceback.format_exception(error))
    if error.where is not None:
        text += snippet(error.where)
    text += f"ERROR: {error.message}\n"
    if error.hint:
        text += f"hint: {error.hint}\n"
    sys.stdout.flush()
    sys.stderr.write(for_log(text, os.environ))
    if isinstance(error, NotCached):
        return NOT_CACHED
    return INTERRUPTED if isinstance(error, Cancelled) else FAILED


def _system_error(error: OSError) -> int:
    """What nobody below put in words: something ran out, a disk fails, or it is our fault."""
    number = error.errno or 0
    if number not in _USED_UP and number not in _BROKEN:
        return _bug(debug=True)
    named = f" {error.filename}" if error.filename else " a file"
    hint = _USED_UP.get(number, "see what the kernel says of that disk: `dmesg`")
    sys.stderr.write(for_log(f"ERROR: use{named}: {error.strerror}\nhint: {hint}\n", os.environ))
    return EXHAUSTED if number in _USED_UP else FAILED


def _bug(*, debug: bool) -> int:
    import traceback

    if debug:
        sys.stderr.write(for_log(traceback.format_exc(), os.environ))
    sys.stderr.write("ERROR: this is a bug in trimaran; please report it with the lines above\n")
    return INTERNAL


def root_help(invocation: Invocation) -> str:
    return pages.group_help(
        invocation.program, "[OPTIONS] COMMAND", commands.SUMMARY, (BUILDER, DEBUG), commands.sections()
    )


def group_help(invocation: Invocation, group: str) -> str:
    rows = [("Commands", commands.subcommands(group))]
    return pages.group_help(
        invocation.program, f"{group} [OPTIONS] COMMAND", commands.GROUPS[group], (BUILDER, DEBUG), rows
    )


def terminal_width() -> int:
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80
