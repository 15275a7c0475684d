"""Python programs that use Trimaran as a library, run by the interpreter in which the wheel is installed."""

from __future__ import annotations

import os
from pathlib import Path

from stage.program import Trimaran


def interpreter(command: Trimaran) -> Trimaran:
    """Runs Python in the home and as the account of `command`."""
    *identity, program = command.command
    python = os.path.join(os.path.dirname(program), "python")
    made = Trimaran([*identity, python], command.home)
    made.environment = {**command.environment, "PYTHONDONTWRITEBYTECODE": "1"}
    return made


class Scripts:
    """Call it with a script's text to run that to its end, `start` one to do something to it meanwhile.

    `-I` keeps the sources of a checkout out of it.
    """

    def __init__(self, command: Trimaran, folder: Path) -> None:
        self.python = interpreter(command)
        self._folder = folder

    def __call__(self, text: str, *arguments: str, exit_code: int = 0) -> str:
        done = self.python("-I", "-c", text, *arguments, cwd=self._folder, exit_code=exit_code)
        if not exit_code:
            assert done.stderr == "", done.stderr
        return done.stdout

    def start(self, text: str, *arguments: str):  # noqa: ANN201 - as Trimaran.start
        return self.python.start("-I", "-c", text, *arguments, cwd=self._folder)

    def stop(self) -> None:
        self.python.stop()
