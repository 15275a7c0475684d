"""The commands that mend, in the words of the machine's distribution (os-release(5)). Pure."""

from __future__ import annotations

import shlex

import msgspec

_INSTALL = {
    "apt": "apt-get install -y",
    "dnf": "dnf install -y",
    "apk": "apk add",
    "pacman": "pacman -S --needed --noconfirm",
    "zypper": "zypper --non-interactive install",
}
_MANAGERS = {
    "debian": "apt", "ubuntu": "apt", "fedora": "dnf", "rhel": "dnf", "centos": "dnf", "amzn": "dnf", "alpine": "apk",
    "arch": "pacman", "suse": "zypper", "opensuse": "zypper", "sles": "zypper",
}  # fmt: skip
_PACKAGES = {
    "uidmap": {"apt": "uidmap", "dnf": "shadow-utils", "apk": "shadow-uidmap", "pacman": "shadow", "zypper": "shadow"},
}
"""Where a distribution calls a package otherwise than we do."""


class Remedies(msgspec.Struct, frozen=True):
    """`manager` is "" on a distribution we do not know; `raiser` is `sudo`, `doas` or "" for root."""

    manager: str = ""
    raiser: str = ""

    @classmethod
    def of(cls, os_release: str, raiser: str) -> Remedies:
        values = {}
        for line in os_release.splitlines():
            name, equals, value = line.partition("=")
            if equals:
                values[name.strip()] = value.strip().strip("\"'")
        for word in [values.get("ID", ""), *values.get("ID_LIKE", "").split()]:
            manager = _MANAGERS.get(word) or _MANAGERS.get(word.partition("-")[0])
            if manager:
                return cls(manager, raiser)
        return cls("", raiser)

    def as_root(self, command: str) -> str:
        return f"{self.raiser} {command}" if self.raiser else command

    def install(self, package: str) -> str:
        """ "" on a distribution whose package manager we do not know."""
        if not self.manager:
            return ""
        return self.as_root(f"{_INSTALL[self.manager]} {_PACKAGES.get(package, {}).get(self.manager, package)}")

    def upgrade(self, package: str) -> str:
        """Bring one package to the newest the distribution has; all managers' install does that but two."""
        if self.manager in {"dnf", "zypper"}:
            verb = {"dnf": "dnf upgrade -y", "zypper": "zypper --non-interactive update"}[self.manager]
            return self.as_root(f"{verb} {package}")
        if self.manager == "apk":
            return self.as_root(f"apk add --upgrade {package}")
        return self.install(package)

    def append(self, text: str, *paths: str) -> str:
        """Add a line to files that root owns."""
        return f"echo {shlex.quote(text)} | {self.as_root('tee -a')} {' '.join(paths)}"

    def sysctl(self, key: str, value: int) -> str:
        """Set a kernel parameter, now and after the next boot."""
        file = f"/etc/sysctl.d/60-trimaran-{key.rpartition('.')[2].replace('_', '-')}.conf"
        setting = shlex.quote(f"{key}={value}")
        return f"echo {setting} | {self.as_root('tee')} {file} && {self.as_root('sysctl')} -w {setting}"

    def edit(self, path: str, line: int = 0) -> str:
        """Open a file at a line, as root where need be is the caller's question."""
        return f'"${{EDITOR:-vi}}" {f"+{line} " if line else ""}{shlex.quote(path)}'
