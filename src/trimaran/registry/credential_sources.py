"""Where credentials come from besides docker's config.json: what CI systems and podman set up.

The first that has something for a host is used: `$DOCKER_AUTH_CONFIG` (the JSON itself: GitLab, docker), the file that
`$REGISTRY_AUTH_FILE` names, docker's config.json with its helpers, podman's own auth.json. All have docker's form.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from trimaran.errors import UsageError
from trimaran.registry.docker_config import Credential, DockerConfig, podman_files

TEXT, FILE = "DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"


class CredentialSources(DockerConfig):
    """docker's config.json for everything, and the other sources for credentials."""

    @property
    def looked_at(self) -> str:
        """See `DockerConfig.looked_at`."""
        file = self._environment.get(FILE, "")
        if file and not os.path.exists(file):
            return f"{self.path}, and {file}, which ${FILE} names, is not there"
        return self.path

    async def credential(self, host: str, repository: str = "") -> Credential | None:
        """See `DockerConfig.credential`."""
        for source in self._before():
            found = await source.credential(host, repository)
            if found is not None:
                return found
        found = await super().credential(host, repository)
        if found is not None:
            return found
        for path in podman_files(self._environment):
            found = await DockerConfig(path, self._environment).credential(host, repository)
            if found is not None:
                return found
        return None

    def _before(self) -> list[DockerConfig]:
        text, file = self._environment.get(TEXT, ""), self._environment.get(FILE, "")
        found: list[DockerConfig] = [_Given(text, self._environment)] if text.strip() else []
        if file:
            found.append(DockerConfig(file, self._environment))
        return found


class _Given(DockerConfig):
    """A configuration that is the value of a variable."""

    def __init__(self, text: str, environment: Mapping[str, str]) -> None:
        super().__init__(f"${TEXT}", environment)
        self._text = text

    @property
    def document(self) -> dict[str, Any]:
        """UsageError, without a word of the text, when it is no JSON object."""
        try:
            document = msgspec.json.decode(self._text.encode())
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            document = None
        if not isinstance(document, dict):
            raise UsageError(f"read {self.path}: not a JSON object", hint='it is to be like {"auths": {"HOST": …}}')
        return document
