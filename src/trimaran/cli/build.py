"""`build`: flags to options, options to the builder, events to the screen, the result to files and a last word."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from trimaran.builders.options import BuildOptions, BuildResult
from trimaran.cli.build_flags import COMMAND
from trimaran.cli.build_options import additions, build_options, caches_left_out
from trimaran.cli.invocation import CI_VARIABLES, Invocation
from trimaran.cli.options import Values
from trimaran.cli.progress import SILENT, watch
from trimaran.errors import NotCached, StepFailed, TrimaranError, UsageError
from trimaran.events import Sink

if TYPE_CHECKING:
    from trimaran.cli.annotations import Annotations

__all__ = ["COMMAND", "run"]


def run(values: Values, invocation: Invocation) -> int:
    options = build_options(values, invocation.environment, debug=invocation.debug)
    for words in additions(values):
        invocation.err(f"WARNING: {words} is left out: images are built without attestations\n")
    for words in caches_left_out(values, invocation.environment):
        invocation.err(f"WARNING: {words} is left out: there is no such cache here\n")
    if options.iidfile:
        _forget(options.iidfile)
    result = _build(options, invocation)
    if options.call is not None:
        from trimaran.cli.call_result import shown

        answer = dict(result.answer)
        out, err, code = shown(answer, options.call)
        if options.call.name == "lint" and (annotations := _annotations(options, invocation)):
            invocation.mark(annotations.of_check(answer["result.json"]))
        (invocation.show if not options.call.format else invocation.out)(out)
        invocation.err(err)
        return code
    _write_files(options, result)
    if options.progress == "quiet":
        invocation.out(f"{result.image_id}\n" if result.image_id else "")
    elif options.progress not in SILENT | {"rawjson"}:
        invocation.err(_where_it_is(options, result, invocation))
    return 0


def _build(options: BuildOptions, invocation: Invocation) -> BuildResult:
    if sys.platform == "linux":
        from trimaran.builders.drivers import embedded

        embedded.enter()  # before the engine is loaded: so there is less to fork
    elif options.call is None:
        from trimaran.builders.drivers.no_engine import needs_linux

        raise needs_linux("build")
    from trimaran.builders import plan

    async def work(sink: Sink) -> BuildResult:
        return await plan.build(options, sink, invocation.environment)

    annotations = _annotations(options, invocation)
    try:
        return watch(options.progress, invocation, work, build=True, annotations=annotations)
    except TrimaranError as error:
        if annotations is not None:
            invocation.mark(annotations.of_error(error))
        _explain(error, options, invocation)
        raise


def _explain(error: TrimaranError, options: BuildOptions, invocation: Invocation) -> None:
    """What else there is to say of it, where nothing was shown while it happened."""
    if isinstance(error, NotCached):
        from trimaran.cli.display.misses import reasons_line

        error.hint = reasons_line(error.reasons)
    elif isinstance(error, StepFailed):
        if options.progress in SILENT and error.tail:
            invocation.err(f"------\n > {error.vertex}:\n" + "".join(f"{line}\n" for line in error.tail) + "------\n")
        error.hint = error.hint or "all that the step said: `trimaran logs`"


def _annotations(options: BuildOptions, invocation: Invocation) -> Annotations | None:
    """None where no CI server makes any: nothing is loaded for them then."""
    if CI_VARIABLES.isdisjoint(invocation.environment):
        return None
    from trimaran.cli.annotations import Annotations

    return Annotations(options, invocation.environment)


def _where_it_is(options: BuildOptions, result: BuildResult, invocation: Invocation) -> str:
    """One line when nothing was asked to be done with the image: it is kept, and can be used from there."""
    if options.outputs or options.push or options.load or not result.image_id:
        return ""
    if not result.images:
        return "The image is in Trimaran's store without a name: give it one with -t NAME to run or push it\n"
    name = _familiar(result.images[0])
    program = "trimaran" if invocation.plugin else invocation.program
    return f"Image {name} is in Trimaran's store: `{program} run {name}`, `{program} push {name}`\n"


def _familiar(name: str) -> str:
    from trimaran.reference import Reference

    return Reference.parse(name).familiar


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"remove iidfile {path}: {error.strerror}") from error


def _write_files(options: BuildOptions, result: BuildResult) -> None:
    if options.iidfile:
        _write(options.iidfile, result.image_id.encode())
    if options.metadata_file:
        _write(options.metadata_file, result.metadata)


def _write(path: str, data: bytes) -> None:
    """Whole or not at all, where a file can be renamed over; a device or pipe is written as it is."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            with open(path, "wb") as file:
                file.write(data)
            return
        part = f"{path}.{os.urandom(4).hex()}.part"
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o664)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.replace(part, path)
    except OSError as error:
        raise UsageError(f"write {path}: {error.strerror}") from error
