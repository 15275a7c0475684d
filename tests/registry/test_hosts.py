"""Where a registry is, by our settings and docker's files (pure but for the files)."""

import asyncio
import subprocess

import pytest

from trimaran.errors import Unavailable, UsageError
from trimaran.oci import media_types
from trimaran.oci.blobs import read_all
from trimaran.oci.descriptor import Descriptor
from trimaran.registry.hosts import DockerFiles, Hosts, read_docker_files
from trimaran.registry.proxy import bypassed, on_loopback, proxy_for
from trimaran.settings import Keypair, RegistrySettings, Settings
from trimaran.testing.registry import FaultyRegistry

RAW = b"blob"
BLOB = Descriptor.of(RAW, media_types.OCI_LAYER)


def hosts(docker=None, **registries):
    return Hosts(
        Settings(registry={key.replace("__", ".").replace("_P", ":"): value for key, value in registries.items()}),
        docker or DockerFiles(),
    )


def bases(host):
    return [str(base) for base in host.bases]


def test_docker_hub_and_others():
    assert bases(hosts().origin("docker.io")) == ["https://registry-1.docker.io/v2/"]
    assert bases(hosts().origin("ghcr.io")) == ["https://ghcr.io/v2/"]
    assert bases(hosts().origin("localhost:5000")) == ["http://localhost:5000/v2/", "https://localhost:5000/v2/"]
    assert bases(hosts().origin("127.0.0.1")) == ["http://127.0.0.1/v2/", "https://127.0.0.1/v2/"]
    assert bases(hosts().origin("[::1]:5000")) == ["http://[::1]:5000/v2/", "https://[::1]:5000/v2/"]


@pytest.mark.parametrize(
    ("settings", "expected", "insecure"),
    [
        (RegistrySettings(http=True), ["http"], False),
        (RegistrySettings(http=False), ["https"], False),
        (RegistrySettings(insecure=True), ["https"], True),
        (RegistrySettings(insecure=True, http=True), ["https", "http"], True),
        (RegistrySettings(insecure=False), ["https"], False),
    ],
)
def test_settings_say_the_scheme(settings, expected, insecure):
    host = hosts(r__example=settings).origin("r.example")
    assert [base.scheme for base in host.bases] == expected
    assert host.trust.insecure is insecure


def test_mirrors_of_ours_win_over_dockers():
    docker = DockerFiles(mirrors=("https://theirs",), insecure=())
    ours = hosts(docker, docker__io=RegistrySettings(mirrors=("ours.example/pre/fix", "http://other:81")))
    found = ours.to_pull("docker.io")
    assert [bases(host) for host in found] == [
        ["https://ours.example/v2/pre/fix/"],
        ["http://other:81/v2/"],
        ["https://registry-1.docker.io/v2/"],
    ]
    assert [host.mirror_of for host in found] == ["docker.io", "docker.io", ""]
    assert bases(hosts(docker).to_pull("docker.io")[0]) == ["https://theirs/v2/"]
    assert len(hosts(docker).to_pull("ghcr.io")) == 1
    for bad in ("ftp://x", "", "/path"):
        with pytest.raises(UsageError):
            hosts(docker__io=RegistrySettings(mirrors=(bad,))).to_pull("docker.io")


def test_dockers_insecure_registries():
    docker = DockerFiles(insecure=("in.example:5000", "10.0.0.0/8"))
    for name, wanted in (("in.example:5000", True), ("10.1.2.3:80", True), ("in.example", False), ("11.1.2.3", False)):
        host = hosts(docker).origin(name)
        assert ([base.scheme for base in host.bases] == ["https", "http"]) is wanted
        assert host.trust.insecure is wanted
    ours = hosts(docker, in__example_P5000=RegistrySettings(http=False))
    assert not ours.origin("in.example:5000").trust.insecure


def test_dockers_files(tmp_path):
    system = tmp_path / "etc"
    certs = system / "certs.d" / "reg.example:5000"
    certs.mkdir(parents=True)
    for name in ("ca.crt", "client.cert", "client.key", "README"):
        (certs / name).write_text("")
    (system / "daemon.json").write_text('{"registry-mirrors": ["https://m"], "insecure-registries": ["i"], "x": 1}')
    files = read_docker_files({"HOME": str(tmp_path)}, str(system))
    assert (files.mirrors, files.insecure) == (("https://m",), ("i",))
    trust = hosts(files).origin("reg.example:5000").trust
    assert trust.ca == (str(certs / "ca.crt"),)
    assert trust.keypairs == (Keypair(key=str(certs / "client.key"), cert=str(certs / "client.cert")),)
    own = hosts(files, reg__example_P5000=RegistrySettings(ca=("/own.pem",))).origin("reg.example:5000").trust
    assert (own.ca, own.keypairs) == (("/own.pem",), ())


def test_a_broken_daemon_json_is_passed_over_and_said(tmp_path):
    (tmp_path / "daemon.json").write_text('{"registry-mirrors": [] # comment')
    files = read_docker_files({"HOME": str(tmp_path)}, str(tmp_path))
    assert files.mirrors == ()
    assert "unreadable" in files.looked_at[-1]


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "expected"),
    [
        ("", "example.com", 443, False),
        ("*", "example.com", 443, True),
        ("example.com", "example.com", 443, True),
        ("example.com", "sub.example.com", 443, True),
        (".example.com", "sub.example.com", 443, True),
        (".example.com", "example.com", 443, False),
        ("*.example.com", "sub.example.com", 443, True),
        ("example.com", "notexample.com", 443, False),
        ("example.com:5000", "example.com", 5000, True),
        ("example.com:5000", "example.com", 443, False),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("a, 192.168.1.1 ,b", "192.168.1.1", 443, True),
        ("", "localhost", 443, True),
        ("", "127.9.9.9", 443, True),
        ("", "::1", 443, True),
    ],
)
def test_no_proxy(no_proxy, host, port, expected):
    assert bypassed(host, port, no_proxy) is expected


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        (("HTTP_PROXY=http://user:secret@127.0.0.1:3128",), "127.0.0.1:3128"),
        (("PATH=/bin", "https_proxy=localhost:8080"), "localhost:8080"),
        (("ALL_PROXY=socks5h://[::1]:1080",), "[::1]:1080"),
        (("http_proxy=http://127.9.9.9",), "127.9.9.9"),
        (("HTTP_PROXY=http://proxy.test:3128", "NO_PROXY=127.0.0.1", "ftp_proxy="), ""),
        (("HTTP_PROXY=http://[::1", "HTTPS_PROXY=http://127.0.0.1:x"), ""),
    ],
)
def test_proxies_on_loopback(variables, place):
    assert on_loopback(variables) == place


def test_proxy_variables():
    environment = {"https_proxy": "http://user:p%40ss@proxy:3128", "HTTP_PROXY": "plain:80"}
    secure = proxy_for("https", "example.com", 443, environment)
    assert (secure.host, secure.port) == ("proxy", 3128)
    assert "ss" not in repr(secure)
    assert proxy_for("http", "example.com", 80, environment).host == "plain"
    assert proxy_for("http", "example.com", 80, {}) is None
    with pytest.raises(Exception, match="only http"):
        proxy_for("https", "example.com", 443, {"HTTPS_PROXY": "socks5://x:1"})


# -- TLS and proxies for real -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A CA and a certificate for 127.0.0.1 and a name, by the machine's openssl."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, cwd=folder, capture_output=True)

    openssl(
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-subj",
        "/CN=test ca",
        "-days",
        "2",
        "-addext",
        "keyUsage=critical,keyCertSign",
    )
    openssl(
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "key.pem",
        "-out",
        "csr.pem",
        "-subj",
        "/CN=registry",
    )
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1,DNS:registry.test\n")
    openssl(
        "x509",
        "-req",
        "-in",
        "csr.pem",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-out",
        "cert.pem",
        "-days",
        "2",
        "-extfile",
        "ext",
    )
    return folder


def pull(make_client, reference, settings=None, environment=None, **options):
    async def main():
        async with make_client(settings=settings, environment=environment, **options) as client:
            return await read_all(client.repository(reference), BLOB)

    return asyncio.run(main())


def test_tls_by_our_ca(make_client, certificates):
    with FaultyRegistry(tls=(str(certificates / "cert.pem"), str(certificates / "key.pem"))) as server:
        server.put_blob("a", RAW)
        ours = Settings(registry={server.host: RegistrySettings(ca=(str(certificates / "ca.pem"),))})
        assert pull(make_client, f"{server.host}/a:v1", ours) == RAW, "http is tried first on loopback, then TLS"
        ours = Settings(registry={server.host: RegistrySettings(http=False, ca=(str(certificates / "ca.pem"),))})
        assert pull(make_client, f"{server.host}/a:v1", ours) == RAW
        loose = Settings(registry={server.host: RegistrySettings(insecure=True)})
        assert pull(make_client, f"{server.host}/a:v1", loose) == RAW


def test_insecure_for_once(make_client, certificates):
    with FaultyRegistry(tls=(str(certificates / "cert.pem"), str(certificates / "key.pem"))) as server:
        server.put_blob("a", RAW)
        strict = Settings(registry={server.host: RegistrySettings(http=False)})

        async def main():
            async with make_client(settings=strict) as client:
                client.allow_insecure(server.host)
                return await read_all(client.repository(f"{server.host}/a:v1"), BLOB)

        assert asyncio.run(main()) == RAW


def test_tls_of_an_unknown_ca_is_refused_at_once(make_client, certificates):
    with FaultyRegistry(tls=(str(certificates / "cert.pem"), str(certificates / "key.pem"))) as server:
        strict = Settings(registry={server.host: RegistrySettings(http=False)})
        with pytest.raises(Unavailable, match="certificate refused: unable to get local issuer") as caught:
            pull(make_client, f"{server.host}/a:v1", strict)
        assert not server.requests
        assert caught.value.hint
        assert "(it is signed by CN=" in caught.value.message


def test_on_loopback_the_scheme_that_was_spoken_says_what_is_wrong(make_client, certificates):
    with FaultyRegistry(tls=(str(certificates / "cert.pem"), str(certificates / "key.pem"))) as server:
        with pytest.raises(Unavailable, match="https://.*certificate refused"):
            pull(make_client, f"{server.host}/a:v1")
    with pytest.raises(Unavailable, match="connection refused"):
        pull(make_client, f"{server.host}/a:v1")


def test_docker_insecure_falls_back_to_http(make_client):
    with FaultyRegistry() as server:
        server.put_blob("a", RAW)
        settings = Settings(registry={server.host: RegistrySettings(insecure=True, http=True)})
        assert pull(make_client, f"{server.host}/a:v1", settings) == RAW


class ConnectProxy:
    """A CONNECT proxy in this process that leads every host to one port of loopback."""

    def __init__(self, port, authorization=""):
        self.port, self.authorization, self.lines = port, authorization, []

    async def serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.lines.append(head)
        if self.authorization and f"Proxy-Authorization: {self.authorization}" not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pipe(source, target):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
            target.close()

        await asyncio.gather(pipe(reader, back), pipe(there, writer), return_exceptions=True)


@pytest.mark.parametrize("password", ["right", "wrong"])
def test_tls_through_a_connect_proxy(make_client, certificates, password):
    with FaultyRegistry(tls=(str(certificates / "cert.pem"), str(certificates / "key.pem"))) as server:
        server.put_blob("a", RAW)

        async def main():
            proxy = ConnectProxy(server.port, "Basic dTpyaWdodA==")  # u:right
            service = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
            port = service.sockets[0].getsockname()[1]
            environment = {"HTTPS_PROXY": f"http://u:{password}@127.0.0.1:{port}", "PATH": ""}
            settings = Settings(registry={"registry.test": RegistrySettings(ca=(str(certificates / "ca.pem"),))})
            try:
                async with make_client(settings=settings, environment=environment) as client:
                    return await read_all(client.repository("registry.test/a:v1"), BLOB)
            finally:
                service.close()
                await asyncio.sleep(0.05)
                assert proxy.lines[0].startswith("CONNECT registry.test:443 ")
                assert not any("authorization: bearer" in line.lower() for line in proxy.lines)

        if password == "right":
            assert asyncio.run(main()) == RAW
        else:
            with pytest.raises(Unavailable, match="refused the tunnel: 407") as caught:
                asyncio.run(main())
            assert "wrong" not in str(caught.value)
