"""Programs run in a process of their own: what enters namespaces must not be the test runner."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import trimaran

SOURCE = str(Path(trimaran.__file__).parents[1])
ACCOUNT = "trimaran-unit"


def python_for_anyone():
    """An interpreter other accounts may start, and the folders it needs: the test runner's may lie in /root."""
    path = os.path.realpath(sys.executable)
    folders = [str(p) for p in Path(path).parents]
    if all(os.stat(folder).st_mode & 0o001 for folder in folders):
        return sys.executable, [SOURCE]
    same = f"/usr/bin/python3.{sys.version_info.minor}"
    if os.path.exists(same):
        return same, [SOURCE, *(p for p in sys.path if p.endswith("site-packages"))]
    return None, []


def run_program(text, *, account=None, timeout=60, **options):
    """Run `text` as a Python program with the project's source; its CompletedProcess with text streams."""
    python, folders = (sys.executable, [SOURCE]) if account is None else python_for_anyone()
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment["PYTHONPATH"] = ":".join(folders)
    if account is not None:
        entry = pwd.getpwnam(account)
        options |= {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "cwd": "/"}
        environment["HOME"] = entry.pw_dir
    return subprocess.run(
        [python, "-c", text], env=environment, capture_output=True, text=True, timeout=timeout, check=False, **options
    )


def make_account():
    """Make the ordinary account of the tests; False when it was there already."""
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        subprocess.run(["useradd", "-m", "--", ACCOUNT], check=True, capture_output=True)
        return True
    return False


def remove_account():
    subprocess.run(["userdel", "-r", "--", ACCOUNT], check=False, capture_output=True)


@contextmanager
def shared_folder():
    """A folder every account may write to. Not below pytest's: any other pytest of root closes that to others again."""
    path = Path(tempfile.mkdtemp(prefix="trimaran-test-"))
    path.chmod(0o777)
    try:
        yield path
    finally:
        shutil.rmtree(path)
