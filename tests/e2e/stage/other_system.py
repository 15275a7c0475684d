"""Run Trimaran as if this were another system: python other_system.py darwin|win32 ARGUMENT...

What that system's Python lacks is taken away before anything of Trimaran is loaded; modules of the standard library
are loaded first, since they are right for the system that is here.
"""

from __future__ import annotations

# ruff: noqa: F401
import asyncio
import email
import getpass
import gzip
import importlib
import logging
import multiprocessing
import os
import platform
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from types import ModuleType

LINUX = """setns unshare pidfd_open memfd_create eventfd splice copy_file_range getrandom O_PATH O_TMPFILE
posix_fadvise posix_fallocate sched_getaffinity listxattr getxattr setxattr removexattr pipe2 fdatasync"""
POSIX = """geteuid getuid getgid getegid fork setsid setpgid getpgid getpgrp mkfifo mknod chown fchown lchown fchmod
statvfs fstatvfs uname O_NOFOLLOW O_DIRECTORY O_CLOEXEC O_NONBLOCK WNOHANG killpg openpty tcsetpgrp set_blocking
sysconf confstr initgroups setgroups getgroups pread pwrite readv writev sendfile sync wait3 wait4 waitid getloadavg
nice chroot fchdir ttyname posix_spawn posix_spawnp register_at_fork"""
SIGNALS = """SIGHUP SIGQUIT SIGWINCH SIGTSTP SIGCONT SIGUSR1 SIGUSR2 SIGCHLD SIGTTIN SIGTTOU SIGKILL SIGPIPE
pthread_sigmask sigwaitinfo sigtimedwait SIG_BLOCK SIG_SETMASK SIG_UNBLOCK"""
MODULES = frozenset({"fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "spwd", "syslog", "readline"})


class Missing:
    """Finds nothing for modules that the other system has not."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def take_away(module: ModuleType, names: str) -> None:
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)


def become(system: str) -> None:
    platform.uname()  # it remembers what it will need
    take_away(os, LINUX)
    if system == "win32":
        take_away(os, POSIX)
        take_away(signal, SIGNALS)
        for name in MODULES:
            sys.modules.pop(name, None)
        sys.meta_path.insert(0, Missing())  # type: ignore[arg-type]
    sys.platform = system


if __name__ == "__main__":
    become(sys.argv[1])
    sys.argv[:2] = ["trimaran"]
    from trimaran.__main__ import main

    sys.exit(main())
