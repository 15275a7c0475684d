"""Emulators: missing, off, without flag F; each mended by its command, with a fake kernel folder."""

import pytest

from trimaran import doctor, platforms
from trimaran.doctor import binfmt
from trimaran.doctor.remedies import Remedies
from trimaran.executor import binfmt as registering
from trimaran.executor import emulation
from trimaran.executor.emulation import BINFMT_FOLDER

FOREIGN = "arm64" if platforms.default().architecture == "amd64" else "amd64"


@pytest.fixture
def kernel(place):
    place.write(f"{BINFMT_FOLDER}/status", "enabled\n")
    return place


def entry(architecture, *, flags="F", state="enabled"):
    which = registering.emulator(architecture)
    return f"{state}\ninterpreter /usr/bin/{which.name}-static\nflags: {flags}\noffset 0\nmagic {which.magic.hex()}\nmask {which.mask.hex()}\n"


def register(place, architecture, **how):
    name = registering.emulator(architecture).name
    place.write(f"{BINFMT_FOLDER}/{name}", entry(architecture, **how))
    return name


def installer(place):
    """A `trimaran` that registers what it is asked to, as the real one does."""
    lines = []
    for each in registering.EMULATORS:
        path = f"{place.root}{BINFMT_FOLDER}/{each.name}"
        lines.append(f"case $3 in all|{each.architecture}) cat >{path} <<E\n{entry(each.architecture)}E\n;; esac")
    place.program(
        "trimaran",
        f"mkdir -p {place.root}{BINFMT_FOLDER}; echo enabled >{place.root}{BINFMT_FOLDER}/status\n" + "\n".join(lines),
    )


def state_of(place, architecture=FOREIGN):
    findings = binfmt.examine(place.machine())
    return next((finding for finding in findings if finding.name == f"binfmt linux/{architecture}"), findings[0])


def test_not_mounted_then_installed(place):
    installer(place)
    broken = state_of(place)
    assert (broken.status, broken.command) == ("warn", "trimaran binfmt --install all")
    place.mend(broken.command)
    assert {finding.status for finding in binfmt.examine(place.machine())} == {"ok"}


def test_missing_then_installed(kernel):
    installer(kernel)
    broken = state_of(kernel)
    assert broken.status == "warn"
    kernel.mend(broken.command)
    assert state_of(kernel).status == "ok"


def test_native_architectures_need_none(kernel):
    machine = platforms.default().architecture
    shown = {finding.name for finding in binfmt.examine(kernel.machine())}
    assert not {f"binfmt linux/{name}" for name in emulation.native_architectures(machine)} & shown


def test_without_flag_f_then_anew(kernel):
    installer(kernel)
    name = register(kernel, FOREIGN, flags="OC")
    broken = state_of(kernel)
    assert broken.status == "fail"
    assert "lacks flag F" in broken.detail
    assert broken.command.startswith(f"echo -1 | tee {BINFMT_FOLDER}/{name} && ")
    kernel.mend(broken.command)
    assert state_of(kernel).status == "ok"


def test_handler_switched_off_then_on(kernel):
    name = register(kernel, FOREIGN, state="disabled")
    broken = state_of(kernel)
    assert (broken.status, broken.command) == ("fail", f"echo 1 | tee {BINFMT_FOLDER}/{name}")
    register(kernel, FOREIGN)  # what the kernel makes of the 1
    assert state_of(kernel).status == "ok"


def test_everything_switched_off(kernel):
    kernel.write(f"{BINFMT_FOLDER}/status", "disabled\n")
    assert (state_of(kernel).status, state_of(kernel).command) == ("fail", f"echo 1 | tee {BINFMT_FOLDER}/status")


def test_sudo_finds_trimaran_where_the_user_has_it(place):
    command = binfmt.examine(place.machine(uid=7))[0].command
    assert command == 'sudo "$(command -v trimaran)" binfmt --install all'


def test_all_checks_run_on_this_machine():
    names = {finding.name.partition(" linux/")[0] for finding in doctor.run()}
    assert {
        "runtime",
        "overlay",
        "user namespaces",
        "AppArmor",
        "cgroups",
        "binfmt",
        "registry config",
        "disk",
    } <= names


def test_a_table_of_the_builds_own_is_no_lack():
    which = registering.emulator(FOREIGN)
    own = emulation.Handler(which.name, True, "/usr/bin/qemu-static", "CF", 0, which.magic, which.mask)
    facts = binfmt.Facts(platforms.default().architecture, None, (), (own,))
    found = {finding.name: finding for finding in binfmt.decide(facts, Remedies(raiser=""))}
    assert found[f"binfmt linux/{FOREIGN}"].status == "ok"
    assert "your builds alone" in found[f"binfmt linux/{FOREIGN}"].detail
    assert {finding.status for finding in found.values()} == {"ok", "warn"}  # of the others there is none
