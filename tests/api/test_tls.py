"""HTTPS: what the server accepts and says with it, and whom a client believes."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from tests.certificates import self_signed
from tests.server_process import ServerProcess, server, spawn
from vmpool.client import Client, errors, local
from vmpool.errors import InvalidRequest
from vmpool.settings import Listen
from vmpool.tls import server_context


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def certificate(files: Path) -> Path:
    return self_signed(files)[0]


@pytest.fixture(scope="module")
def running(files: Path, certificate: Path) -> Iterator[ServerProcess]:
    """A server on the fake backend that takes TLS 1.3 only."""
    settings = {
        "BACKEND": "fake",
        "LISTEN__TLS_CERTIFICATE": str(certificate),
        "LISTEN__TLS_KEY": str(certificate.with_suffix(".key")),
        "LISTEN__TLS_MINIMUM": "1.3",
    }
    with server(files / "state", files / "output", **settings) as found:
        yield found


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No client here finds anything in the environment, or starts a server."""
    for name in (local.URL_VARIABLE, local.KEY_VARIABLE, local.CA_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(local.AUTOSTART_VARIABLE, "0")


def test_it_serves_https_and_says_so(running: ServerProcess, files: Path) -> None:
    assert running.url.startswith("https://127.0.0.1:")
    answer = running.client.get("/api/vms")
    assert answer.status_code == 200
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert running.url in (files / "output").read_text()
    made = running.client.post("/api/vms/create", json={"name": "box", "language": "python"})
    assert made.status_code == 201
    long = "x" * 300_000
    ran = running.client.post("/api/vms/box/execute", json={"code": f"print('{long}')"})
    assert ran.json()["output"] == long + "\n"


def test_an_older_version_is_refused(running: ServerProcess, certificate: Path) -> None:
    url = httpx.URL(running.url)
    for version, taken in ((ssl.TLSVersion.TLSv1_2, False), (ssl.TLSVersion.TLSv1_3, True)):
        context = ssl.create_default_context(cafile=certificate)
        context.minimum_version = context.maximum_version = version
        with socket.create_connection((url.host, url.port or 0), timeout=10) as plain:
            if taken:
                with context.wrap_socket(plain, server_hostname=url.host) as secure:
                    assert secure.version() == "TLSv1.3"
            else:
                with pytest.raises(ssl.SSLError):
                    context.wrap_socket(plain, server_hostname=url.host)


def test_plain_http_is_not_answered(running: ServerProcess, files: Path) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(running.url.replace("https:", "http:") + "/health", trust_env=False)
    assert running.client.get("/health").status_code == 200
    assert "Traceback" not in (files / "output").read_text()


def test_what_is_no_http_gets_an_answer_with_all_headers(running: ServerProcess, certificate: Path) -> None:
    url, context = httpx.URL(running.url), ssl.create_default_context(cafile=certificate)
    with (
        socket.create_connection((url.host, url.port or 0), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=url.host) as secure,
    ):
        secure.sendall(b"this is no HTTP\r\n\r\n")
        head, _, body = b"".join(iter(lambda: secure.recv(65536), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (400, "invalid_request")
    assert f"x-request-id: {problem['request_id']}".encode() in head
    for header in (
        b"x-content-type-options: nosniff",
        b"cache-control: no-store",
        b"strict-transport-security:",
    ):
        assert header in head


def test_a_client_believes_the_authority_it_is_given(
    running: ServerProcess, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(running.url, running.key, ca=certificate) as client:
        client.list_vms()
    monkeypatch.setenv(local.CA_VARIABLE, str(certificate))
    with Client(running.url, running.key) as client:
        client.list_vms()


def test_the_command_believes_the_authority_it_is_given(
    running: ServerProcess, certificate: Path, tmp_path: Path
) -> None:
    env = {**os.environ, local.URL_VARIABLE: running.url, local.KEY_VARIABLE: running.key}
    vm = Path(sys.executable).with_name("vm")

    def listed(ca: Path) -> subprocess.CompletedProcess[str]:
        words = [str(vm), "--ca", str(ca), "list", "--json"]
        return subprocess.run(words, env=env, capture_output=True, text=True, timeout=50, check=False)

    assert listed(certificate).returncode == 0
    refused = listed(self_signed(tmp_path, "other")[0])
    assert refused.returncode == 125 and "CERTIFICATE_VERIFY_FAILED" in refused.stderr


def test_a_client_believes_nobody_else(running: ServerProcess, files: Path) -> None:
    other, _ = self_signed(files, "other")
    for ca in (None, other):
        with (
            Client(running.url, running.key, ca=ca) as client,
            pytest.raises(errors.ServerUnreachable, match="CERTIFICATE_VERIFY_FAILED") as refused,
        ):
            client.create_vm("never", "python")
        assert refused.value.dispatch == "never_dispatched"
    for wrong in (files / "nowhere.pem", files / "output"):
        with (
            Client(running.url, running.key, ca=wrong) as client,
            pytest.raises(errors.ServerUnreachable, match=r"cannot be read"),
        ):
            client.list_vms()


def test_this_machines_own_server_is_known_by_its_certificate(
    running: ServerProcess, files: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(local.STATE_VARIABLE, str(files / "state"))
    with Client() as client:
        client.list_vms()
    # Somebody else behind the same address is not: the certificate in the state directory is another's.
    other, _ = self_signed(tmp_path, "other")
    said = json.loads((files / "state" / "server.json").read_text())
    (tmp_path / "server.json").write_text(json.dumps({**said, "certificate": str(other)}))
    (tmp_path / "owner.key").write_text(running.key)
    monkeypatch.setenv(local.STATE_VARIABLE, str(tmp_path))
    with Client() as client, pytest.raises(errors.ServerUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
        client.list_vms()


def test_its_name_does_not_matter_to_its_own_machine(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate for a public name, as an authority gives it."""
    certificate, key = self_signed(tmp_path, "public", host="DNS:pool.example.com")
    state = tmp_path / "state"
    settings = {"LISTEN__TLS_CERTIFICATE": str(certificate), "LISTEN__TLS_KEY": str(key), "BACKEND": "fake"}
    monkeypatch.setenv(local.STATE_VARIABLE, str(state))
    with server(state, tmp_path / "output", **settings) as found, Client() as client:
        assert client.list_vms() == []
        with Client(found.url, found.key, ca=certificate) as other, pytest.raises(errors.ServerUnreachable):
            other.list_vms()


def test_wrong_files_are_named(files: Path, tmp_path: Path, certificate: Path) -> None:
    key = certificate.with_suffix(".key")
    secret = tmp_path / "secret.key"
    command = ["openssl", "ec", "-in", str(key), "-aes256", "-passout", "pass:x", "-out", str(secret)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    for given, named in (
        ((files / "output", key), "listen.tls_certificate"),
        ((certificate, self_signed(tmp_path, "other")[1]), "listen.tls_certificate"),
        ((certificate, secret), "listen.tls_certificate"),
        ((certificate, Path("/nonexistent")), "listen.tls_key"),
        ((Path("/nonexistent"), key), "listen.tls_certificate"),
    ):
        with pytest.raises(InvalidRequest, match=named):
            server_context(Listen(tls_certificate=given[0], tls_key=given[1]))
    with pytest.raises(ValidationError, match="together"):
        Listen(tls_certificate=certificate)
    process = spawn(tmp_path / "state", tmp_path / "said", BACKEND="fake", LISTEN__TLS_KEY=str(key))
    assert process.wait(30) == 1
    said = (tmp_path / "said").read_text()
    assert "tls_certificate" in said and "Traceback" not in said
