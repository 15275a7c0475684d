"""Fixtures of rooms that deal with processes: programs in a process of their own, and an ordinary account."""

import os

import pytest

import inside


@pytest.fixture
def program():
    return inside.run_program


@pytest.fixture(scope="session")
def account():
    """An ordinary account with subordinate ids, removed afterwards unless it was there before."""
    if os.geteuid() != 0:
        pytest.skip("making an account needs root")
    if inside.python_for_anyone()[0] is None:
        pytest.skip("no interpreter another account may start")
    made = inside.make_account()
    yield inside.ACCOUNT
    if made:
        inside.remove_account()


@pytest.fixture
def shared():
    with inside.shared_folder() as path:
        yield path
