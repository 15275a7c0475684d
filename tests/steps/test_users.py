import pytest

from trimaran.errors import NotFound, UsageError
from trimaran.steps.users import Identity, exec_identity, group_id, user_id

PASSWD = b"root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\nbroken\n1234:x:7:8::/:\nbig:x:4294967296:0::/:\n"
GROUP = b"root:x:0:\nstaff:x:50:app,other\nwheel:x:10:app\nhuge:x:99999999999:app\n"


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("", Identity(0, 0, (0,))),
        ("app", Identity(1000, 1001, (50, 10, 1001))),
        ("1000", Identity(1000, 1001, (50, 10, 1001))),
        ("app:staff", Identity(1000, 50, (50,))),
        ("app:7", Identity(1000, 7, (7,))),
        ("4242", Identity(4242, 0, (0,), is_known=False)),
        ("4242:4243", Identity(4242, 4243, (4243,), is_known=False)),
        ("1234", Identity(7, 8, (8,))),
    ],
)
def test_user(text, identity):
    assert exec_identity(text, PASSWD, GROUP) == identity


@pytest.mark.parametrize("text", ["nobody", "-1", "0x0", "٣"])
def test_unknown_user(text):
    with pytest.raises(NotFound):
        exec_identity(text, PASSWD, GROUP)


@pytest.mark.parametrize("text", ["4294967296", "2147483648"])
def test_ids_do_not_wrap_to_root(text):
    with pytest.raises(UsageError):
        exec_identity(text, PASSWD, GROUP)


def test_a_passwd_line_cannot_give_an_id_that_wraps():
    with pytest.raises(NotFound):
        exec_identity("big", PASSWD, GROUP)


def test_owner_lookups():
    assert user_id("app", PASSWD) == (1000, 1001)
    assert group_id("wheel", GROUP) == 10
    with pytest.raises(NotFound):
        group_id("nope", GROUP)
