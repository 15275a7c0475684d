"""`binfmt`: emulators for other platforms, registered with the kernel as `tonistiigi/binfmt` does (reference §7.1)."""

from __future__ import annotations

import os
from collections.abc import Callable

from trimaran import platforms
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Example, Flag, Values
from trimaran.errors import NotFound, TrimaranError
from trimaran.executor import binfmt, emulation
from trimaran.executor.binfmt import Emulator
from trimaran.executor.emulation import BINFMT_FOLDER

IMAGE = "docker.io/tonistiigi/binfmt:latest"
KEPT = "/var/lib/trimaran/qemu"
"""Where emulators out of an image stay: the kernel's entry names the file, and `--persist` needs it after a boot."""

COMMAND = Command(
    name="binfmt",
    summary="Register emulators, so that images of other platforms can be built and run",
    usage="binfmt [OPTIONS]",
    description=(
        "Register QEMU's user-mode emulators with the kernel (binfmt_misc): this machine's static QEMU or, where it "
        "has none, one from an image. Prints what runs here, as JSON. Handlers made by others are left alone."
    ),
    flags=(
        DEBUG,
        Flag(name="install", kind="strings", value_name="arch", help='Architectures or platforms to emulate, or "all"'),
        Flag(name="uninstall", kind="strings", value_name="arch", help="Architectures, handlers or globs to remove"),
        Flag(name="persist", kind="bool", help="Register them at each boot, too (/etc/binfmt.d)"),
        Flag(name="image", default=IMAGE, help="Image to take emulators from that this machine has not"),
        Flag(name="mount", default=BINFMT_FOLDER, help="Where binfmt_misc is or will be mounted", completes="folder"),
        Flag(name="version", kind="bool", help="Show the version and the emulators found on this machine"),
    ),
    examples=(
        Example("Emulate every platform there is an emulator for", "binfmt --install all"),
        Example("Emulate two, from now on after each boot", "binfmt --install arm64,s390x --persist"),
        Example("Remove what was registered", "binfmt --uninstall 'qemu-*'"),
    ),
)


def run(values: Values, invocation: Invocation) -> int:
    if values.boolean("version"):
        invocation.out(_version())
        return 0
    folder = values.text("mount")
    wanted, removed = values.texts("install"), values.texts("uninstall")
    chosen = _chosen(wanted, folder)
    if (wanted or removed) and os.geteuid() != 0:
        invocation.err(f"registering emulators needs root; run:\n  {_as_root(invocation)}\n")
        _print_status(invocation, folder)
        return 1
    done = [True]
    if wanted or removed:
        binfmt.mount(folder)
    for word in removed:
        done += _uninstall(word, folder, invocation)
    if chosen:
        done += _install(chosen, values, folder, invocation, every="all" in wanted)
    _print_status(invocation, folder)
    return 0 if all(done) else 1


def _chosen(words: tuple[str, ...], folder: str) -> list[Emulator]:
    """What to install; `all` is every emulator for what does not run here yet."""
    chosen: list[Emulator] = []
    for word in words:
        if word == "all":
            native = emulation.native_architectures(platforms.default().architecture)
            chosen += [each for each in binfmt.EMULATORS if each.architecture not in native]
        elif word:
            chosen.append(binfmt.emulator(word))
    registered = {each.name for each in emulation.read_handlers(folder)}
    every = list(dict.fromkeys(chosen))
    return [each for each in every if each.name not in registered] if "all" in words else every


def _install(chosen: list[Emulator], values: Values, folder: str, invocation: Invocation, *, every: bool) -> list[bool]:
    """One line each on stderr, as tonistiigi/binfmt words them; whether each is there now."""
    environment = invocation.environment
    folders = [environment.get("QEMU_BINARY_PATH") or "/usr/bin"]
    prefix = environment.get("QEMU_BINARY_PREFIX", "")
    sources = {each: path for each in chosen if (path := binfmt.find_interpreter(each, folders, prefix))}
    missing = [each for each in chosen if each not in sources]
    trouble: TrimaranError | None = None
    if missing:
        try:
            sources.update(_fetch(values.text("image"), missing))
        except TrimaranError as error:
            trouble = error
    keep_argv0 = True if environment.get("QEMU_PRESERVE_ARGV0") else None
    if every and (sources or emulation.read_handlers(folder)):
        # "all" is all there are: what neither this machine nor the image has is nobody's failure
        if trouble is not None:
            invocation.err(f"WARNING: {trouble.message}\n")
        chosen = [each for each in chosen if each in sources]
    done = []
    for each in chosen:
        action = _installer(each, sources, trouble, folder, keep_argv0)
        done.append(_attempt(f"installing: {each.architecture}", invocation, action))
        if done[-1] and values.boolean("persist"):
            path = binfmt.persist(each, sources[each], preserve_argv0=keep_argv0)
            invocation.err(f"persisting: {each.architecture} {path}\n")
    return done


def _installer(
    which: Emulator, sources: dict[Emulator, str], trouble: TrimaranError | None, folder: str, keep_argv0: bool | None
) -> Callable[[], str]:
    def install() -> str:
        if which not in sources:
            raise trouble or NotFound(
                f"find qemu-{which.suffix}: neither this machine nor the image has a static one",
                hint="install one (Debian: qemu-user-static) or name another --image",
            )
        said = binfmt.install(which, sources[which], folder=folder, preserve_argv0=keep_argv0)
        return "OK" if said == "installed" else f"{which.name} {said}"

    return install


def _uninstall(word: str, folder: str, invocation: Invocation) -> list[bool]:
    names = binfmt.named(word, emulation.read_handlers(folder))
    if not names:
        invocation.err(f"uninstalling: {word} not found\n")
        return []
    return [_attempt(f"uninstalling: {name}", invocation, _remover(name, folder)) for name in names]


def _remover(name: str, folder: str) -> Callable[[], str]:
    def remove() -> str:
        binfmt.uninstall(name, folder=folder)
        binfmt.unpersist(name)
        return "OK"

    return remove


def _attempt(what: str, invocation: Invocation, action: Callable[[], str]) -> bool:
    """One failure does not keep the others from being tried."""
    try:
        invocation.err(f"{what} {action()}\n")
    except TrimaranError as error:
        invocation.err(f"{what} {error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return False
    return True


def _fetch(image: str, missing: list[Emulator]) -> dict[Emulator, str]:
    import asyncio

    from trimaran import settings
    from trimaran.executor.emulator_image import fetch
    from trimaran.registry.client import Registry

    async def pull() -> dict[Emulator, str]:
        async with Registry(settings.load()) as registry:
            return await fetch(registry, image, missing, KEPT)

    return asyncio.run(pull())


def _print_status(invocation: Invocation, folder: str) -> None:
    import msgspec

    machine = platforms.default().architecture
    level = platforms.amd64_level() if machine == "amd64" else 1
    status = msgspec.json.encode(binfmt.status(machine, level, folder=folder))
    invocation.out(msgspec.json.format(status, indent=2).decode() + "\n")


def _as_root(invocation: Invocation) -> str:
    import shlex
    import sys

    program = os.path.abspath(sys.argv[0]) if os.path.basename(sys.argv[0]) == "trimaran" else "trimaran"
    if invocation.plugin:
        program = "trimaran"
    return f"sudo {shlex.join([program, *invocation.argv])}"


def _version() -> str:
    """`binfmt/<ours> qemu/<theirs> python/<version>` in the form of tonistiigi/binfmt."""
    import subprocess
    import sys

    from trimaran import __version__

    qemu = "none"
    for each in binfmt.EMULATORS:
        path = binfmt.find_interpreter(each)
        if path:
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout.split()
            qemu = said[2] if len(said) > 2 else "unknown"
            break
    python = ".".join(map(str, sys.version_info[:3]))
    return f"binfmt/{__version__} qemu/{qemu} python/{python}\n"
