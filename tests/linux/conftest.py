"""Programs in a process of their own, and an ordinary account."""

from inside_fixtures import account, program, shared  # noqa: F401 - pytest finds them here
