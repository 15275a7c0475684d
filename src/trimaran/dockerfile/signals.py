"""Names of signals on Linux, as STOPSIGNAL takes them."""

from __future__ import annotations

_NAMES = (
    "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT RTMAX RTMIN SEGV STKFLT STOP SYS "
    "TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ"
)
NAMES = tuple(_NAMES.split())
REAL_TIME = 15


def is_signal(text: str) -> bool:
    """A number but 0, or a name with or without SIG, in any case; RTMIN+1 to RTMIN+15, RTMAX-14 to RTMAX-1 too."""
    if text.lstrip("+-").isascii() and text.lstrip("+-").isdigit():
        return len(text) < 10 and int(text) != 0
    name = text.upper().removeprefix("SIG")
    for base, sign, most in (("RTMIN", "+", REAL_TIME), ("RTMAX", "-", REAL_TIME - 1)):
        number = name.removeprefix(base + sign)
        if number != name and number.isascii() and number.isdigit() and not number.startswith("0"):
            return 1 <= int(number[:4]) <= most
    return name in NAMES
