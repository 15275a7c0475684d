"""The look before the start: does this machine run the program that a process will begin with, and how?"""

from __future__ import annotations

import os
from collections.abc import Sequence

from trimaran.executor import emulation


def is_emulated(
    rootfs: str, args: Sequence[str], environment: Sequence[str], *, cwd: str, machine: str, what: str
) -> bool:
    """Whether a QEMU will run it. Unsupported (naming `what` and what to do) when nothing here can.

    In a user namespace, emulators that the machine has but nobody registered are registered for that namespace alone.
    """
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        program = emulation.find_program(root, args, environment, cwd)
        needed = emulation.needed_handler(program, machine, root=root) if program else None
        if program and isinstance(needed, emulation.Missing) and _use_own_table():
            needed = emulation.needed_handler(program, machine, root=root)
    finally:
        os.close(root)
    if isinstance(needed, emulation.Missing):
        raise needed.error(what)
    return needed is not None


def _use_own_table() -> bool:
    from trimaran.executor.binfmt import use_own_table  # loaded only where a handler is missing

    return bool(use_own_table())
