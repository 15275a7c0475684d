"""Which isolation a place grants, and that none below a container is used unless it was named."""

import pytest

from trimaran.errors import Denied, UsageError
from trimaran.executor.isolation import choose, weakest_accepted
from trimaran.linux.place import Place
from trimaran.settings import WorkerSettings

FULL = Place(root=True)
PLACES = {
    "container": FULL,
    "one-user": Place(ids=False),
    "no-process-sandbox": Place(processes=False, ids=False, refusal="hidden"),
    "chroot": Place(mounts=False, processes=False, ids=False, root=True, refusal="refused"),
    "none": Place(mounts=False, processes=False, ids=False, refusal="refused"),
}
ORDER = ["container", "one-user", "no-process-sandbox", "chroot"]


@pytest.mark.parametrize("weakest", ORDER)
@pytest.mark.parametrize("best", ORDER)
def test_the_strongest_is_used_and_no_weaker_than_was_named(best, weakest):
    isolation = choose(PLACES[best], weakest)
    if best == "one-user" and weakest == "container":
        assert (isolation.kind, isolation.only_root) == ("container", True)
        return
    assert isolation.kind == best
    assert isolation.accepted == (ORDER.index(best) <= ORDER.index(weakest))
    if isolation.accepted:
        isolation.require()
        assert bool(isolation.notice) == (best != "container"), "less than a container is said"
        return
    with pytest.raises(Denied) as caught:
        isolation.require()
    assert f"TRIMARAN_SANDBOX={best}" in caught.value.hint


@pytest.mark.parametrize("weakest", ["", *ORDER])
def test_nothing_is_accepted_where_nothing_is(weakest):
    isolation = choose(PLACES["none"], weakest)
    with pytest.raises(Denied) as caught:
        isolation.require()
    assert "refused" in caught.value.message


@pytest.mark.parametrize("word", ["none", "chroots", "Chroot", " chroot"])
def test_a_word_that_names_no_sandbox_is_an_error(word):
    with pytest.raises(UsageError, match="unknown sandbox"):
        choose(FULL, word)


def test_who_names_it():
    buildkits = WorkerSettings(no_process_sandbox=True)
    assert weakest_accepted(WorkerSettings(), {}) == ""
    assert weakest_accepted(buildkits, {}) == "no-process-sandbox"
    assert weakest_accepted(WorkerSettings(sandbox="chroot", no_process_sandbox=True), {}) == "chroot"
    assert weakest_accepted(WorkerSettings(sandbox="chroot"), {"TRIMARAN_SANDBOX": "container"}) == "container"
