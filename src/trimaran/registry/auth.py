"""Answers to a registry's 401: Basic, or a token from the server its challenge names (distribution's token spec).

Law (T51-T55): credentials of a host go to that host, and to a token server it names only when that is the same host, a
host of the same domain, a known pair (Docker Hub) or one our settings allow; never by plain HTTP where the registry is
spoken to by TLS. A token goes to the host that asked for it and to nobody else. Redirects are never answered to.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import msgspec

from trimaran import events
from trimaran.aio import Once
from trimaran.errors import TrimaranError, Unavailable
from trimaran.oci.backoff import Budget
from trimaran.registry import challenges, errors
from trimaran.registry.challenges import Challenge
from trimaran.registry.docker_config import Credential, DockerConfig, config_key
from trimaran.registry.errors import RegistryDenied
from trimaran.registry.hosts import Host, Hosts
from trimaran.registry.http import Client, Headers, Response
from trimaran.registry.retry import retrying
from trimaran.registry.urls import Url

PULL = "pull"
PUSH = "pull,push"
#: The life of a token whose server names none (token spec), and how long before its end it is renewed.
_DEFAULT_LIFE = 60
_MARGIN = 10.0
_ANSWER_LIMIT = 1 << 20
#: Registries whose token server is of another domain by their operator's own documentation.
_KNOWN_REALMS = {
    "registry-1.docker.io": ("auth.docker.io",),
    "rg.fr-par.scw.cloud": ("api.scaleway.com",),
    "rg.nl-ams.scw.cloud": ("api.scaleway.com",),
    "rg.pl-waw.scw.cloud": ("api.scaleway.com",),
}
#: Domains under which strangers have hosts side by side, at any depth: sharing one means nothing.
_SHARED = frozenset(
    {
        *("amazonaws.com", "cloudfront.net"),
        *("azure.com", "azurecontainer.io", "azurecr.cn", "azurecr.io", "azurecr.us", "azurewebsites.net"),
        *("appspot.com", "cloudapp.net", "googleusercontent.com", "run.app", "web.app"),
        *("fly.dev", "herokuapp.com", "netlify.app", "onrender.com", "railway.app", "vercel.app"),
        *("github.dev", "github.io", "gitlab.io", "pages.dev", "trycloudflare.com", "workers.dev"),
        *("ngrok.app", "ngrok.dev", "ngrok.io", "ngrok-free.app", "ngrok-free.dev"),
        *("duckdns.org", "nip.io", "sslip.io", "ts.net"),
    }
)


class Scope(msgspec.Struct, frozen=True, order=True):
    """`repository:NAME:ACTIONS`: what a token is for."""

    repository: str
    actions: str = PULL

    def __str__(self) -> str:
        return f"repository:{self.repository}:{self.actions}"


class _Token(msgspec.Struct, frozen=True):
    header: str
    expires: float


class _TokenJSON(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    expires_in: float | None = None


def realm_trusted(registry: Url, realm: Url, allowed: tuple[str, ...] = ()) -> bool:
    """Whether `registry`'s credentials may go to the token server `realm` (pure)."""
    if registry.scheme == "https" and realm.scheme != "https":
        return False
    own, other = registry.host.lower(), realm.host.lower()
    if own == other or realm.netloc in allowed or other in allowed:
        return True
    if realm.scheme != "https":
        return False
    return other in _KNOWN_REALMS.get(own, ()) or _same_domain(own, other)


def _same_domain(one: str, other: str) -> bool:
    """Whether two host names end in the same registered domain, as near as can be told without a list of suffixes."""
    if any(character.isalpha() for name in (one, other) for character in name.rpartition(".")[2]) is False:
        return False  # addresses
    left, right = one.split(".")[::-1], other.split(".")[::-1]
    shared = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        shared += 1
    if shared < 2 or f"{left[1]}.{left[0]}" in _SHARED:
        return False
    # co.uk, com.au, org.br: a country's second level is no registered domain
    return shared >= (3 if len(left[0]) == 2 and len(left[1]) <= 3 else 2)


class Authority:
    """The credentials and tokens of one process: asked for at the first 401, kept until they expire."""

    def __init__(self, client: Client, hosts: Hosts, config: DockerConfig) -> None:
        self._client = client
        self._hosts = hosts
        self._config = config
        self._once = Once()
        self._challenges: dict[tuple[str, str, int], Challenge] = {}
        self._basic: set[tuple[str, str, int]] = set()
        self._tokens: dict[tuple[object, ...], _Token] = {}
        self._credentials: dict[tuple[str, str], Credential | None] = {}
        self._complaints: dict[str, str] = {}

    def complaint(self, host: Host) -> str:
        """Why no credentials could be had for `host`, "" when nothing went wrong."""
        return self._complaints.get(host.name, "")

    async def header(self, host: Host, base: Url, scopes: tuple[Scope, ...], sink: events.Sink) -> str:
        """The Authorization header to start with: "" until the host has asked once."""
        if base.origin in self._basic:
            credential = await self._credential(host, scopes)
            return credential.basic if credential is not None and credential.username else ""
        challenge = self._challenges.get(base.origin)
        if challenge is None:
            return ""
        token = self._tokens.get((base.origin, scopes))
        if token is None or token.expires <= time.monotonic():
            token = await self._renew(host, base, challenge, scopes, sink)
        return token.header

    def forget(self, base: Url, scopes: tuple[Scope, ...]) -> None:
        """The server no longer takes what we have for these scopes."""
        self._tokens.pop((base.origin, scopes), None)

    async def answer(
        self, host: Host, base: Url, response: Response, sent: str, scopes: tuple[Scope, ...], sink: events.Sink
    ) -> str | None:
        """The header that answers a 401 of `host` itself to a request with the header `sent`; None when there is
        nothing new to say."""
        offered = challenges.parse(response.headers.get("www-authenticate", ""))
        bearer = next((each for each in offered if each.scheme == "bearer" and each.get("realm")), None)
        if bearer is not None:
            self._challenges[base.origin] = bearer
            self.forget(base, scopes)
            return (await self._renew(host, base, bearer, scopes, sink)).header
        if any(each.scheme == "basic" for each in offered):
            credential = await self._credential(host, scopes)
            self._basic.add(base.origin)
            if credential is not None and credential.username and credential.basic != sent:
                return credential.basic
        return None

    async def _credential(self, host: Host, scopes: tuple[Scope, ...]) -> Credential | None:
        repository = scopes[0].repository if scopes else ""
        key = (host.name, repository)
        if key not in self._credentials:
            try:
                found = await self._once.run(key, lambda: self._config.credential(host.name, repository))
            except Unavailable as error:  # a helper that is not there must not keep public images from being pulled
                self._complaints[host.name] = str(error)
                found = None
            self._credentials[key] = found
        return self._credentials[key]

    async def _renew(
        self, host: Host, base: Url, challenge: Challenge, scopes: tuple[Scope, ...], sink: events.Sink
    ) -> _Token:
        key = (base.origin, scopes)

        async def fetch() -> _Token:
            name = scopes[0].repository if scopes else ""
            words = f"[auth] {name}:{scopes[0].actions} token for {base.netloc}" if scopes else f"[auth] {base.netloc}"
            with events.vertex(sink, words):
                token = await self._fetch(host, base, challenge, scopes)
            self._tokens[key] = token
            return token

        return await self._once.run(key, fetch)

    async def _fetch(self, host: Host, base: Url, challenge: Challenge, scopes: tuple[Scope, ...]) -> _Token:
        try:
            realm = Url.parse(challenge.get("realm"))
        except TrimaranError:
            raise RegistryDenied(
                f"log in to {host.name}: its token server is no URL: {errors.printable(challenge.get('realm'), 100)!r}"
            ) from None
        credential = await self._credential(host, scopes)
        if credential is not None and credential.registry_token:
            return _Token(f"Bearer {credential.registry_token}", time.monotonic() + _DEFAULT_LIFE)
        self._check_realm(host, base, realm, credential)
        wanted = [str(scope) for scope in scopes]
        ask: Callable[[], Awaitable[_Token]]
        if credential is not None and credential.identity_token:
            token = credential.identity_token
            ask = lambda: self._post(host, base, realm, challenge, wanted, identity_token=token)  # noqa: E731
        else:
            ask = lambda: self._get(host, base, realm, challenge, wanted, credential=credential)  # noqa: E731
        return await retrying(ask, Budget(seconds=60))

    def _check_realm(self, host: Host, base: Url, realm: Url, credential: Credential | None) -> None:
        from trimaran.registry import crossing

        refused = crossing.refusal(base, realm)
        if refused:
            raise RegistryDenied(f"log in to {host.name}: its token server {realm.redacted} leads {refused}")
        if credential is not None and not realm_trusted(base, realm, host.auth_realms):
            raise RegistryDenied(
                f"log in to {host.name}: it wants its credentials ({credential.source}) sent to {realm.netloc}",
                hint=f'if that is its token server, say so: [registry."{host.name}"] auth-realms = ["{realm.netloc}"]',
            )

    async def _get(
        self,
        host: Host,
        base: Url,
        realm: Url,
        challenge: Challenge,
        scopes: list[str],
        *,
        credential: Credential | None,
    ) -> _Token:
        pairs = [("service", challenge.get("service"))] if challenge.get("service") else []
        pairs += [("scope", scope) for scope in scopes]
        headers: Headers = []
        if credential is not None and credential.username:
            headers.append(("Authorization", credential.basic))
            pairs += [("account", credential.username), ("client_id", "trimaran")]
        joint = "&" if "?" in realm.target else "?"
        query = _form(pairs)
        url = Url(realm.scheme, realm.host, realm.port, f"{realm.target}{joint}{query}" if query else realm.target)
        trust = host.trust if realm.host == base.host else self._hosts.trust_of(realm.netloc)
        async with self._client.request("GET", url, headers, trust=trust) as response:
            return await self._token(host, "GET", url, response, credential)

    async def _post(
        self, host: Host, base: Url, realm: Url, challenge: Challenge, scopes: list[str], *, identity_token: str
    ) -> _Token:
        form = _form(
            [
                ("grant_type", "refresh_token"),
                ("service", challenge.get("service")),
                ("client_id", "trimaran"),
                ("scope", " ".join(scopes)),
                ("refresh_token", identity_token),
            ]
        )
        headers = [("Content-Type", "application/x-www-form-urlencoded")]
        trust = host.trust if realm.host == base.host else self._hosts.trust_of(realm.netloc)
        async with self._client.request("POST", realm, headers, body=form.encode(), trust=trust) as response:
            return await self._token(host, "POST", realm, response, Credential(identity_token=identity_token))

    async def _token(
        self, host: Host, method: str, url: Url, response: Response, credential: Credential | None
    ) -> _Token:
        raw = await response.read_all(_ANSWER_LIMIT)
        if response.status != 200:
            retry_after = errors.parse_retry_after(response.headers.get("retry-after", ""), time.time())
            answer = errors.answer_of(method, str(url), response.status, raw, retry_after)
            raise errors.from_answer(answer, reason=response.reason, hint=self.hint(host, credential))
        try:
            document = msgspec.json.decode(raw, type=_TokenJSON)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise RegistryDenied(f"{method} {url.redacted}: token not understood: {error}") from None
        token = document.token or document.access_token
        if not token or not token.isascii() or not token.isprintable() or " " in token or len(token) > 48 << 10:
            raise RegistryDenied(f"{method} {url.redacted}: no usable token in the answer")
        life = document.expires_in if document.expires_in and document.expires_in > 0 else _DEFAULT_LIFE
        return _Token(f"Bearer {token}", time.monotonic() + max(life - _MARGIN, life / 2))

    def hint(self, host: Host, credential: Credential | None = None) -> str:
        """What to do about a no: log in, or look at what was used."""
        complaint = self.complaint(host)
        if complaint:
            return f"credentials could not be had: {complaint}"
        name = "" if host.name == "docker.io" else f" {host.name}"
        if credential is None:
            found = [each for (owner, _), each in self._credentials.items() if owner == host.name and each is not None]
            credential = found[0] if found else None
        if credential is not None and credential.source:
            return f"credentials of {credential.source} were refused: trimaran login{name}"
        return f"no credentials for {config_key(host.name)} in {self._config.looked_at}: trimaran login{name}"


def _form(pairs: list[tuple[str, str]]) -> str:
    return "&".join(f"{key}={quote(value, safe='')}" for key, value in pairs)
