"""HTTPS: certificates are checked, and the bundle is parsed once, not per connection."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import pathlib
import ssl
import time

import pytest
from helpers.pipelines.servers import WebServer

from pipelines.fetch import FetchConfig, Fetcher, FetchStats, Request

x509 = pytest.importorskip("cryptography.x509", reason="cryptography makes the certificates")

CONFIG = FetchConfig(
    allow_addresses=("127.0.0.0/8",),
    deadline_s=5.0,
    retries=0,
    host_connections=8,
    host_rate_per_s=10_000.0,
    decode_threads=1,
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, ssl.SSLContext]:
    """A self-signed certificate for 127.0.0.1: its PEM file, and a server's context."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "groundwork test")])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    address = x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "ca.pem").write_bytes(pem)
    (folder / "server.pem").write_bytes(private + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return folder / "ca.pem", context


def fetch(config: FetchConfig, *urls: str) -> FetchStats:
    fetcher = Fetcher(config)
    try:
        requests = [Request(n, url) for n, url in enumerate(urls)]
        return fetcher.run(requests, handle=lambda *_: None, deadline_s=30)
    finally:
        fetcher.close()


def test_unknown_authorities_and_wrong_names_are_refused(
    authority: tuple[pathlib.Path, ssl.SSLContext],
) -> None:
    path, context = authority
    with WebServer(tls=context) as server, WebServer() as plain:
        trusting = dataclasses.replace(CONFIG, ca_file=str(path))
        cases = [
            (CONFIG, server.url("/good/10"), "tls_error"),
            (trusting, server.url("/good/10"), "success"),
            (trusting, server.url("/good/10", host="localhost"), "tls_error"),
            (trusting, plain.url("/to?url=" + server.url("/good/10")), "success"),
        ]
        actual = [(url, *fetch(config, url).outcomes) for config, url, _ in cases]
    assert actual == [(url, outcome) for _, url, outcome in cases]


def test_the_authorities_are_parsed_once_for_many_connections(
    authority: tuple[pathlib.Path, ssl.SSLContext], tmp_path: pathlib.Path
) -> None:
    """Parsing certifi's bundle costs 10 to 25 ms of CPU; 60 connections must not pay it each."""
    import certifi

    path, context = authority
    both = tmp_path / "both.pem"
    both.write_bytes(pathlib.Path(certifi.where()).read_bytes() + path.read_bytes())
    config = dataclasses.replace(CONFIG, ca_file=str(both))
    with WebServer(tls=context) as server:
        # Without a body length the server hangs up, so that every row connects anew.
        urls = [server.url("/huge/until-close?mb=0&n=" + str(n)) for n in range(60)]
        started = time.process_time()
        fetch(config, *urls)
        cpu_ms = (time.process_time() - started) * 1000 / 60
        connections = server.log.connections
    assert connections >= 60
    assert cpu_ms < 10, f"{cpu_ms:.1f} ms of CPU per connection, the server's included"
