"""Each check: the thing is broken, the check says so, its command is pasted into a shell, and the check is content."""

import os
import subprocess

import pytest

from trimaran import doctor
from trimaran.doctor import apparmor, cgroups, disk, overlay, probes, registry, runtime, user_namespaces
from trimaran.doctor.remedies import Remedies
from trimaran.linux import syscalls

from .conftest import FULL, NONE

DEBIAN = Remedies("apt", "sudo")
CRUN = "echo 'crun version 1.14.3'"


def one(findings, name):
    (found,) = [finding for finding in findings if finding.name == name]
    return found


# --- runtime ------------------------------------------------------------------------------------------------------


def test_runtime_missing_then_installed(place):
    place.program("apt-get", f'printf "#!/bin/sh\\n{CRUN}\\n" >{place.bin}/$3; chmod +x {place.bin}/$3')
    broken = one(runtime.examine(place.machine()), "runtime")
    assert (broken.status, broken.command) == ("fail", "apt-get install -y crun")
    place.mend(broken.command)
    mended = one(runtime.examine(place.machine()), "runtime")
    assert (mended.status, mended.detail) == ("ok", f"crun 1.14.3 ({place.bin}/crun)")


def test_runtime_that_does_not_run(place):
    place.program("crun", "exit 1")
    assert one(runtime.examine(place.machine()), "runtime").status == "fail"
    place.program("crun", CRUN)
    assert one(runtime.examine(place.machine()), "runtime").status == "ok"


def test_the_named_runtime_is_the_one_that_counts(place):
    place.program("crun", CRUN)
    place.environment["TRIMARAN_RUNTIME"] = "runc"
    assert one(runtime.examine(place.machine()), "runtime").command == "apt-get install -y runc"
    place.program("runc", "echo 'runc version 1.4.1'")
    assert one(runtime.examine(place.machine()), "runtime").status == "ok"


@pytest.mark.parametrize(
    ("name", "version", "status"),
    [
        ("crun", "0.17", "fail"), ("crun", "1.0", "ok"), ("crun", "1.8.1-dirty", "ok"), ("runc", "0.1.1", "fail"),
        ("runc", "1.1.5+ds1", "warn"), ("runc", "1.2.7", "warn"), ("runc", "1.2.8", "ok"), ("runc", "1.3.2", "warn"),
        ("runc", "1.3.3", "ok"), ("runc", "1.4.0-rc.1", "ok"), ("runc", "2.0", "ok"), ("runc", "", "fail"),
        ("crun", "unknown", "fail"),
    ],
)  # fmt: skip
def test_runtime_versions(name, version, status):
    found = runtime.decide([runtime.Found(name, f"/usr/bin/{name}", version)], DEBIAN)
    assert found.status == status
    assert bool(found.command) == (status != "ok")


# --- overlay ------------------------------------------------------------------------------------------------------


def test_overlay_refused(place):
    facts = overlay.Facts("/var/lib", "overlay", "Invalid argument", known_to_kernel=True, elsewhere="/mnt/my disk")
    found = overlay.decide(facts, DEBIAN)
    assert (found.status, found.command) == ("warn", "export TRIMARAN_ROOT='/mnt/my disk/trimaran'")
    unknown = overlay.Facts("/var/lib", "ext4", "No such device", known_to_kernel=False)
    assert overlay.decide(unknown, DEBIAN).command == "sudo modprobe overlay"


def test_file_system_of(tmp_path):
    table = overlay.mount_table("a / ext4 rw 0 0\nb /x\\040y tmpfs rw 0 0\nc / overlay rw 0 0\nshort\n")
    assert overlay.file_system_of("/x y/z", table) == "tmpfs"
    assert overlay.file_system_of("/x yz", table) == "overlay"
    assert overlay.file_system_of("/x", []) == ""


@pytest.mark.root
def test_overlay_on_overlay_then_elsewhere(place, tmp_path):
    """The state folder lies on overlayfs, as in most containers; the command names a place where it works."""

    def inside(state):
        def probe():
            from trimaran.linux import mounts, syscalls

            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
            for name in ("lower", "base", "upper", "work", "target"):
                os.makedirs(tmp_path / "outer" / name, exist_ok=True)
            outer = str(tmp_path / "outer")
            with mounts.overlay(
                [f"{outer}/lower", f"{outer}/base"], f"{outer}/upper", f"{outer}/work", f"{outer}/target"
            ):
                place.environment["TRIMARAN_ROOT"] = state.format(outer=outer)
                with open("/proc/self/mounts") as file:
                    place.write("/proc/self/mounts", file.read())
                place.write("/proc/filesystems", "nodev overlay\n")
                found = one(overlay.examine(place.machine()), "overlay")
                raise OSError(0, f"{found.status}|{found.command}")

        return probes.in_child(probe).split("|")

    status, command = inside("{outer}/target/state")
    if status == "ok":
        pytest.skip("this kernel stacks overlayfs on overlayfs")
    assert status == "warn"
    assert command.startswith("export TRIMARAN_ROOT=/")
    assert inside(command.partition("=")[2])[0] == "ok"


@pytest.mark.root
def test_overlay_works_here_and_leaves_nothing(tmp_path):
    assert probes.try_overlay(str(tmp_path), rootless=False) == ""
    assert os.listdir(tmp_path) == []
    with open("/proc/self/mounts") as file:
        assert str(tmp_path) not in file.read()


@pytest.mark.root
def test_overlay_without_root(tmp_path):
    os.chown(tmp_path, 65534, 65534)
    parent = tmp_path
    while parent != parent.parent and not parent.stat().st_mode & 1:
        parent.chmod(parent.stat().st_mode | 0o11)
        parent = parent.parent

    def as_nobody():
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)  # as after an exec: /proc/self is ours again
        problem = probes.try_overlay(str(tmp_path), rootless=True)
        raise OSError(0, f"said {problem!r}")

    assert probes.in_child(as_nobody) == "said ''"


# --- user namespaces ----------------------------------------------------------------------------------------------

SOUND = user_namespaces.Facts(
    user="me",
    may_mount=False,
    most=100,
    clone=None,
    problem="",
    subuids=65536,
    subgids=65536,
    next_free=165536,
    helpers="",
)


@pytest.fixture
def unprivileged(place):
    place.write("/proc/self/status", NONE)
    for name in ("newuidmap", "newgidmap"):
        os.chmod(place.program(name, "true"), 0o4755)
    place.write("/etc/subuid", "other:100000:65536\nme:165536:65536\n")
    place.write("/etc/subgid", "other:100000:65536\nme:165536:65536\n")
    return place


def states(place):
    return {finding.name: finding for finding in user_namespaces.examine(place.machine())}


def test_sound_account(unprivileged):
    assert {name: finding.status for name, finding in states(unprivileged).items()} == {
        "user namespaces": "ok",
        "subordinate ids": "ok",
    }


def test_subordinate_ids_missing_then_appended(unprivileged):
    unprivileged.write("/etc/subuid", "other:100000:65536\n")
    unprivileged.write("/etc/subgid", "")
    broken = states(unprivileged)["subordinate ids"]
    assert (broken.status, broken.command) == ("fail", "echo me:165536:65536 | tee -a /etc/subuid /etc/subgid")
    unprivileged.mend(broken.command)
    assert states(unprivileged)["subordinate ids"].status == "ok"


def test_one_file_short_is_mended_alone(unprivileged):
    unprivileged.write("/etc/subgid", "me:100000:1000\n")
    broken = states(unprivileged)["subordinate ids"]
    assert broken.command == "echo me:231072:65536 | tee -a /etc/subgid"
    unprivileged.mend(broken.command)
    assert states(unprivileged)["subordinate ids"].status == "ok"


def test_newuidmap_without_its_bit(unprivileged):
    os.chmod(f"{unprivileged.bin}/newgidmap", 0o755)
    broken = states(unprivileged)["subordinate ids"]
    assert broken.status == "fail"
    unprivileged.mend(broken.command)
    assert states(unprivileged)["subordinate ids"].status == "ok"


def test_newuidmap_missing_then_installed(unprivileged):
    os.unlink(f"{unprivileged.bin}/newuidmap")
    unprivileged.program(
        "apt-get", f"test $3 = uidmap && cp {unprivileged.bin}/newgidmap {unprivileged.bin}/newuidmap && "
        f"chmod u+s {unprivileged.bin}/newuidmap"
    )  # fmt: skip
    broken = states(unprivileged)["subordinate ids"]
    assert (broken.status, broken.command) == ("fail", "apt-get install -y uidmap")
    unprivileged.mend(broken.command)
    assert states(unprivileged)["subordinate ids"].status == "ok"


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("/proc/sys/user/max_user_namespaces", "user.max_user_namespaces"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "kernel.unprivileged_userns_clone"),
    ],
)
def test_switched_off_then_on(unprivileged, file, key):
    unprivileged.write(file, "0\n")
    os.makedirs(f"{unprivileged.root}/etc/sysctl.d")
    unprivileged.program("sysctl", f'test "${{2%%=*}}" = {key} && echo ${{2##*=}} >{unprivileged.root}{file}')
    broken = states(unprivileged)["user namespaces"]
    assert broken.status == "fail"
    unprivileged.mend(broken.command)
    assert states(unprivileged)["user namespaces"].status == "ok"
    (conf,) = os.listdir(f"{unprivileged.root}/etc/sysctl.d")
    with open(f"{unprivileged.root}/etc/sysctl.d/{conf}") as text:
        assert text.read().startswith(f"{key}=")


def test_refused_namespaces_are_told():
    import msgspec

    refused = msgspec.structs.replace(SOUND, problem="Operation not permitted")
    assert user_namespaces.decide(refused, DEBIAN)[0].status == "fail"
    assert "AppArmor" in user_namespaces.decide(msgspec.structs.replace(refused, apparmor=True), DEBIAN)[0].detail


@pytest.mark.root
def test_root_needs_none(place):
    place.write("/proc/self/status", FULL)
    assert [finding.status for finding in user_namespaces.examine(place.machine())] == ["ok"]


@pytest.mark.root
def test_a_real_limit_is_seen_and_lifted():
    """In a user namespace of its own the limit can be set for real: at 0 none can be made."""

    def probe():
        probes.become_namespace_root()
        seen = []
        for limit in ("0", "100"):
            with open("/proc/sys/user/max_user_namespaces", "w") as file:
                file.write(limit)
            seen.append(probes.in_child(probes.become_namespace_root))
        raise OSError(0, repr(seen))

    assert probes.in_child(probe) == "['No space left on device', '']"


# --- AppArmor -----------------------------------------------------------------------------------------------------


def test_apparmor_restricts_then_not(unprivileged):
    key = "kernel.apparmor_restrict_unprivileged_userns"
    file = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
    unprivileged.write(file, "1\n")
    unprivileged.write("/proc/self/attr/current", "unconfined\n")
    os.makedirs(f"{unprivileged.root}/etc/sysctl.d")
    unprivileged.program("sysctl", f'test "$2" = {key}=0 && echo 0 >{unprivileged.root}{file}')
    (broken,) = apparmor.examine(unprivileged.machine())
    assert broken.status == "fail"
    unprivileged.mend(broken.command)
    (mended,) = apparmor.examine(unprivileged.machine())
    assert mended.status == "ok"


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        (apparmor.Facts(False, None, ""), "ok"),
        (apparmor.Facts(True, True, "unconfined"), "ok"),
        (apparmor.Facts(False, True, "trimaran (unconfined)"), "ok"),
        (apparmor.Facts(True, None, "docker-default (enforce)"), "fail"),
    ],
)
def test_apparmor_decides(facts, status):
    assert apparmor.decide(facts, DEBIAN).status == status


# --- cgroups ------------------------------------------------------------------------------------------------------


def test_cgroups_none_then_mounted(place):
    place.program(
        "mount",
        f"mkdir -p {place.root}/sys/fs/cgroup; echo cpu memory pids >{place.root}/sys/fs/cgroup/cgroup.controllers",
    )
    (broken,) = cgroups.examine(place.machine())
    assert broken.status == "warn"
    place.mend(broken.command)
    (mended,) = cgroups.examine(place.machine())
    assert (mended.status, mended.detail) == ("ok", "version 2")


def test_cgroups_hybrid_and_version_1(place):
    place.write("/sys/fs/cgroup/memory/cgroup.procs", "")
    place.write("/proc/self/status", NONE)
    place.program("runc", "true")
    place.program("apt-get", f"cp {place.bin}/runc {place.bin}/$3")
    (broken,) = cgroups.examine(place.machine())
    assert (broken.status, broken.command) == ("warn", "apt-get install -y crun")
    place.mend(broken.command)
    (mended,) = cgroups.examine(place.machine())
    assert mended.status == "ok"
    assert "version 1:" in mended.detail
    place.write("/sys/fs/cgroup/unified/cgroup.controllers", "")
    assert "hybrid" in cgroups.examine(place.machine())[0].detail


# --- registry -----------------------------------------------------------------------------------------------------


def settings(place, text):
    os.makedirs(f"{place.home}/.config/trimaran", exist_ok=True)
    path = f"{place.home}/.config/trimaran/trimaran.toml"
    with open(path, "w") as file:
        file.write(text)
    return path


def editor(place, script):
    """What the user does in the editor that the command opens."""
    place.environment["EDITOR"] = place.program("editor", script)


def test_settings_with_a_wrong_key_then_edited(place):
    path = settings(place, '[registry."x.io"]\nhttp = true\ninsecur = true\n')
    editor(place, 'test $1 = +3 && sed -i "s/insecur /insecure /" $2')
    (broken,) = registry.examine(place.machine())
    assert broken.status == "fail"
    assert broken.command == f'"${{EDITOR:-vi}}" +3 {path}'
    place.mend(broken.command)
    assert [finding.status for finding in registry.examine(place.machine())] == ["ok"]


def test_settings_file_named_but_not_there(place):
    place.environment["TRIMARAN_CONFIG"] = f"{place.home}/none.toml"
    (broken,) = registry.examine(place.machine())
    assert (broken.status, broken.command) == ("fail", "unset TRIMARAN_CONFIG")
    del place.environment["TRIMARAN_CONFIG"]
    assert [finding.status for finding in registry.examine(place.machine())] == ["ok"]


def test_certificate_files(place, tmp_path):
    certificate, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    settings(
        place,
        f'[registry."x.io"]\nca = ["{certificate}"]\n[[registry."x.io".keypair]]\nkey = "{key}"\ncert = "{certificate}"\n',
    )
    assert [finding.status for finding in registry.examine(place.machine())] == ["fail"] * 3
    certificate.write_text("not a certificate")
    key.write_text("not a key")
    assert {"holds no PEM" in finding.detail for finding in registry.examine(place.machine())} == {True}
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x",
         "-keyout", key, "-out", certificate], check=True, capture_output=True,
    )  # fmt: skip
    assert [finding.status for finding in registry.examine(place.machine())] == ["ok"]


def docker_config(place, text, mode=0o600):
    os.makedirs(f"{place.home}/.docker", exist_ok=True)
    path = f"{place.home}/.docker/config.json"
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)
    return path


def test_credentials_that_others_may_read(place):
    docker_config(place, '{"auths": {"x.io": {"auth": "eDp5"}}}', 0o644)
    (broken,) = registry.examine(place.machine())
    assert broken.status == "warn"
    place.mend(broken.command)
    assert [finding.status for finding in registry.examine(place.machine())] == ["ok"]


def test_a_credential_helper_that_is_not_there(place):
    docker_config(place, '{"credsStore": "pass"}')
    assert [finding.status for finding in registry.examine(place.machine())] == ["fail"]
    place.program("docker-credential-pass", "true")
    assert [finding.status for finding in registry.examine(place.machine())] == ["ok"]


def test_broken_json_of_docker(place):
    docker_config(place, "{")
    place.write("/etc/docker/daemon.json", "[")
    editor(place, 'echo "{}" >"$1"')
    broken = registry.examine(place.machine())
    assert [finding.status for finding in broken] == ["fail", "fail"]
    for finding in broken:
        place.mend(finding.command)
    assert [finding.status for finding in registry.examine(place.machine())] == ["ok"]


# --- disk ---------------------------------------------------------------------------------------------------------

ROOM = disk.Facts(
    folder="/s", existing="/s", user="me", uid=7, owner=7, mode=0o700, writable=True, free=100 << 30, inodes=1 << 20
)


@pytest.mark.parametrize(
    ("changes", "status", "command"),
    [
        ({}, "ok", ""),
        ({"inodes": None}, "ok", ""),
        ({"existing": "/", "owner": 0, "mode": 0o755}, "ok", ""),
        ({"free": 2 << 30}, "warn", "trimaran prune --force"),
        ({"free": 1 << 20}, "fail", "trimaran prune --all --force"),
        ({"inodes": 5}, "fail", "trimaran prune --all --force"),
        ({"mode": 0o777}, "fail", "chmod 700 /s"),
        ({"owner": 0}, "fail", "sudo chown -R me /s"),
        ({"writable": False, "mode": 0o500}, "fail", "chmod 700 /s"),
        ({"writable": False, "existing": "/"}, "fail", "sudo install -d -m 700 -o me /s"),
    ],
)
def test_disk_decides(changes, status, command):
    import msgspec

    found = disk.decide(msgspec.structs.replace(ROOM, **changes), DEBIAN)
    assert (found.status, found.command) == (status, command)


def test_state_folder_open_to_others_then_closed(place):
    os.mkdir(place.environment["TRIMARAN_ROOT"])
    os.chmod(place.environment["TRIMARAN_ROOT"], 0o777)
    machine = place.machine(uid=os.geteuid())
    (broken,) = disk.examine(machine)
    assert broken.status == "fail"
    place.mend(broken.command)
    (mended,) = disk.examine(machine)
    assert mended.status == "ok"


@pytest.mark.root
def test_a_full_disk_then_freed(place, tmp_path):
    """A small tmpfs in a mount namespace, filled and emptied."""

    def probe():
        from trimaran.linux import syscalls

        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
        state = place.environment["TRIMARAN_ROOT"]
        os.mkdir(state)
        seen = []
        for size in ("8m", "2g", "8g"):
            syscalls.mount("tmpfs", state, "tmpfs", 0, f"size={size},mode=700")
            seen.append(disk.examine(place.machine())[0].status)
        raise OSError(0, " ".join(seen))

    assert probes.in_child(probe) == "fail warn ok"


def test_state_folder_is_the_engines(place):
    from trimaran.doctor.state_folder import nearest_existing, state_folder

    assert state_folder(place.machine()) == place.environment["TRIMARAN_ROOT"]
    assert nearest_existing(state_folder(place.machine())) == os.path.dirname(place.environment["TRIMARAN_ROOT"])
    del place.environment["TRIMARAN_ROOT"]
    settings(place, 'root = "/srv/trimaran"\n')
    assert state_folder(place.machine()) == "/srv/trimaran"
    settings(place, "root = 1\n")
    assert os.path.isabs(state_folder(place.machine()))


# --- all ----------------------------------------------------------------------------------------------------------


def test_a_check_that_breaks_is_a_finding(place, monkeypatch):
    def broken(machine):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(cgroups, "examine", broken)
    (found,) = doctor.run(place.machine(), ["cgroups"])
    assert found.status == "fail"
    assert "Input/output error" in found.detail


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("ID=ubuntu\nID_LIKE=debian\n", "sudo apt-get install -y uidmap"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "sudo dnf install -y shadow-utils"),
        ("ID=alpine\n", "sudo apk add shadow-uidmap"),
        ("ID=endeavouros\nID_LIKE=arch\n", "sudo pacman -S --needed --noconfirm shadow"),
        ('ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n', "sudo zypper --non-interactive install shadow"),
        ("ID=strange\n", ""),
    ],
)
def test_commands_fit_the_distribution(text, command):
    assert Remedies.of(text, "sudo").install("uidmap") == command


def test_root_and_doas(place):
    assert place.machine(uid=0).remedies.raiser == ""
    assert place.machine(uid=7).remedies.raiser == "sudo"
    place.program("doas", "true")
    assert place.machine(uid=7).remedies.install("crun") == "doas apt-get install -y crun"
    place.program("sudo", "true")
    assert place.machine(uid=7).remedies.install("crun") == "sudo apt-get install -y crun"
