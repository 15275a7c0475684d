"""What signals to the outer process mean: pure decisions."""

import signal

from trimaran.linux.outer import GRACE, PROGRAM, State, decide


def test_interrupt_once_asks_twice_kills():
    state, action = decide(State(), signal.SIGINT, 0)
    assert action == "forward"
    assert state.deadline is None
    assert decide(state, signal.SIGINT, 1)[1] == "kill"


def test_terminate_has_a_deadline():
    state, action = decide(State(), signal.SIGTERM, 10.0)
    assert (action, state.deadline) == ("forward", 10.0 + GRACE)


def test_window_change_is_not_a_request():
    state, action = decide(State(), signal.SIGWINCH, 0)
    assert (state, action) == (State(), "forward")


def test_stop():
    assert decide(State(), signal.SIGTSTP, 0) == (State(), "stop")


def test_a_program_gets_two_requests_and_all_the_time_it_takes():
    """As under docker: what stops slowly is not killed for it; a third request is one to kill."""
    state = State()
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        state, action = decide(state, number, 0, PROGRAM)
        assert (action, state.deadline) == ("forward", None)
    assert decide(state, signal.SIGTERM, 0, PROGRAM)[1] == "kill"
