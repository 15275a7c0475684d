"""A Landlock domain (landlock(7)) around a thread and all it starts: it takes no right to files, mounts or signals."""

from __future__ import annotations

import ctypes
import os

from trimaran.linux import syscalls

_SYS_CREATE_RULESET = 444
_SYS_RESTRICT_SELF = 446
_SCOPE_ABSTRACT_UNIX_SOCKET = 1


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


def leave_abstract_sockets() -> bool:
    """Reach no abstract Unix socket but those made by this thread and what it starts, from here on.

    There is no way back. False, and nothing is changed, before Linux 6.12, without Landlock, and where neither
    CAP_SYS_ADMIN nor no_new_privs allows it.
    """
    attributes = _RulesetAttributes(scoped=_SCOPE_ABSTRACT_UNIX_SOCKET)
    try:
        ruleset = syscalls.raw(_SYS_CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0)
    except OSError:  # ENOSYS, EOPNOTSUPP, or E2BIG: a kernel that does not know the last field
        return False
    try:
        syscalls.raw(_SYS_RESTRICT_SELF, ruleset, 0)
    except OSError:
        return False
    finally:
        os.close(ruleset)
    return True
