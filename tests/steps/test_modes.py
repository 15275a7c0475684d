import pytest

from trimaran.errors import UsageError
from trimaran.steps.modes import parse_mode


@pytest.mark.parametrize(
    ("text", "before", "folder", "after"),
    [
        ("u+x", 0o644, False, 0o744),
        ("a+x", 0o644, False, 0o755),
        ("+x", 0o644, False, 0o755),
        ("go-w", 0o666, False, 0o644),
        ("u=rwX,go=rX", 0o600, False, 0o644),
        ("u=rwX,go=rX", 0o700, False, 0o755),
        ("u=rwX,go=rX", 0o600, True, 0o755),
        ("g=u", 0o640, False, 0o660),
        ("u+s", 0o755, False, 0o4755),
        ("o=", 0o777, False, 0o770),
        ("+t", 0o755, True, 0o1755),
        ("u+r-w", 0o200, False, 0o400),
    ],
)
def test_symbolic(text, before, folder, after):
    assert parse_mode(-1, text).apply(before, folder=folder) == after


def test_octal_replaces_all_bits():
    assert parse_mode(0o4750, "").apply(0o1777, folder=False) == 0o4750


@pytest.mark.parametrize("text", ["u", "u+q", "u+rw,", "z+r", "u=gr"])
def test_wrong(text):
    with pytest.raises(UsageError):
        parse_mode(-1, text)
