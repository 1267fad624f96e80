"""Connections against real TLS servers of this machine."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_mlsec.errors import SettingError, UsageError
from airflow_mlsec.transport import (
    Outcome,
    check_connection,
    environment_connections,
    exported_connections,
    facts_of_fields,
    facts_of_uri,
)
from airflow_mlsec.transport._hello import TLS_1_2, WEAK_SUITES, agreed
from tests.transport import servers
from tests.transport.servers import Authority, serving

Run = Callable[..., Any]
PASSWORD = "canary-password-8f2e"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def good(authority: Authority) -> Path:
    return authority.issue("localhost")


def failed(uri: str, authority: Authority, **options: Any) -> dict[str, str]:
    """What did not pass, and why."""
    facts = facts_of_uri("c", uri)
    found = check_connection(facts, authorities=str(authority.file), timeout=5, **options)
    assert PASSWORD not in repr(found)
    return {f.check: f.detail for f in found if f.outcome is not Outcome.PASSED}


def test_a_good_server(authority: Authority, good: Path) -> None:
    with serving(servers.context_of(good)) as port:
        facts = facts_of_uri("c", f"http://https://u:{PASSWORD}@localhost:{port}")
        found = check_connection(facts, authorities=str(authority.file), timeout=5)
    assert {f.outcome for f in found} == {Outcome.PASSED}
    assert [f.check for f in found] == [
        "required", "encrypted", "protocol", "suites", "chain", "name", "expiry",
    ]  # fmt: skip
    assert found[2].detail == "TLSv1.3"
    assert found[-1].detail == "90 days left"


@pytest.mark.parametrize(
    ("days", "own", "name", "expected"),
    [
        pytest.param(-3, False, "localhost", {"expiry"}, id="expired"),
        pytest.param(5, False, "localhost", {"expiry"}, id="expires soon"),
        pytest.param(90, False, "other.example", {"name"}, id="wrong host"),
        pytest.param(90, True, "localhost", {"chain"}, id="self-signed"),
        pytest.param(90, True, "other.example", {"chain", "name"}, id="self-signed, wrong host"),
        pytest.param(-3, False, "other.example", {"expiry", "name"}, id="expired, wrong host"),
    ],
)
def test_certificates(
    authority: Authority, days: int, own: bool, name: str, expected: set[str]
) -> None:
    with serving(servers.context_of(authority.issue(name, days=days, own=own))) as port:
        assert set(failed(f"http://https://localhost:{port}", authority)) == expected


def test_chains_that_only_look_verified(authority: Authority, tmp_path: Path) -> None:
    """OpenSSL tells of an expired issuer, or of a wrong name, before it has verified a signature."""
    stranger = Authority.make(tmp_path)
    expired = authority.intermediate("int", days=-5)
    for host, made in (
        ("localhost", stranger.forged("localhost", expired)),
        ("localhost", authority.under("localhost", expired)),
        ("localhost.", stranger.forged("localhost", authority.intermediate("int", days=50))),
    ):
        with serving(servers.context_of(made)) as port:
            found = failed(f"http://https://{host}:{port}", authority)
        assert "chain" in found or "encrypted" in found, host
    good = authority.under("localhost", authority.intermediate("int", days=50))
    with serving(servers.context_of(good)) as port:
        assert failed(f"http://https://localhost:{port}", authority) == {}
    with serving(servers.context_of(authority.issue("localhost", begins=2))) as port:
        assert "expiry" in failed(f"http://https://localhost:{port}", authority)


def test_a_server_without_a_certificate(authority: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("aNULL:@SECLEVEL=0")
    with serving(context) as port:
        assert "encrypted" in failed(f"http://https://localhost:{port}", authority)


def test_addresses_and_wildcards(authority: Authority) -> None:
    with serving(servers.context_of(authority.issue("127.0.0.1"))) as port:
        assert failed(f"http://https://127.0.0.1:{port}", authority) == {}
        assert set(failed(f"http://https://localhost:{port}", authority)) == {"name"}
    with serving(servers.context_of(authority.issue("*.localhost"))) as port:
        assert set(failed(f"http://https://localhost:{port}", authority)) == {"name"}


def test_an_unknown_authority(authority: Authority, good: Path) -> None:
    with serving(servers.context_of(good)) as port:
        found = check_connection(facts_of_uri("c", f"http://https://localhost:{port}"), timeout=5)
    assert [f.check for f in found if f.outcome is Outcome.FAILED] == ["chain"]


def test_old_protocols(authority: Authority, good: Path) -> None:
    with serving(servers.old_context_of(good, ssl.TLSVersion.TLSv1)) as port:
        found = failed(f"http://https://localhost:{port}", authority)
    assert "TLSv1, but also TLSv1" in found["protocol"]
    assert "TLS 1.2 cannot be started" in found["chain"]
    with serving(servers.old_context_of(good, ssl.TLSVersion.TLSv1_2)) as port:
        found = failed(f"http://https://localhost:{port}", authority)
    assert found["protocol"].startswith("TLSv1.2, but also TLSv1.1")
    assert "chain" not in found
    # It agrees to suites without authentication.
    assert "ADH" in found["suites"] or "AECDH" in found["suites"] or "anon" in found["suites"]


@pytest.mark.parametrize(
    ("ciphers", "suite"),
    [
        (["aes128gcm"], None),
        (["aes128gcm", "3des"], "3DES_EDE_CBC_SHA"),
        (["aes128gcm", "rc4"], "RC4_128_SHA"),
    ],
)
def test_suites_that_openssl_has_no_more(
    authority: Authority, good: Path, ciphers: list[str], suite: str | None
) -> None:
    with serving(None, servers.dated(good, *ciphers)) as port:
        found = failed(f"http://https://localhost:{port}", authority)
    if suite is None:
        assert found == {}
    else:
        assert set(found) == {"suites"}
        assert found["suites"].endswith(suite)


@pytest.mark.parametrize("after", [b"", b"220 hello\r\n"])
def test_a_mail_server_that_never_ends_its_answer(after: bytes) -> None:
    def flood(plain: Any) -> bool:
        plain.sendall(after)
        while True:
            plain.sendall(b"220-and more\r\n" * 1_000)

    with serving(None, flood) as port:
        found = check_connection(
            facts_of_uri("c", f"smtp://localhost:{port}?disable_ssl=true"), timeout=2
        )
    assert "not those of SMTP" in found[-1].detail


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x16\x03\x03",
        b"\x16\x03\x03\0\0",
        b"\x15\x03\x03\0\2\2\x28",
        b"\x16\x03\x03\0\4\2\0\0\0",
        b"\x16\x03\x03\0\x28\2\0\0\x24" + bytes(36),
        b"\x16\x03\x03\0\x2b\2\0\0\x27" + b"\x03\x03" + bytes(32) + b"\xff\0\x0a\0\0",
        b"\x16\x03\x03\0\x2a\2\0\0\x26" + b"\x03\x03" + bytes(32) + b"\0\x13\x01\0",
        b"HTTP/1.0 400 Bad Request\r\n\r\n",
    ],
)
def test_answers_that_agree_to_nothing(answer: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)
        assert agreed(ours, "localhost", TLS_1_2, WEAK_SUITES) is None


def test_no_tls_at_all(authority: Authority) -> None:
    def http(plain: Any) -> bool:
        plain.recv(1_000)
        plain.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        return False

    with serving(None, http) as port:
        found = failed(f"http://https://localhost:{port}", authority)
        assert found == {"encrypted": f"localhost:{port}: what answers there does not speak TLS"}
        found = failed(f"http://localhost:{port}", authority)
        assert set(found) == {"required", "encrypted"}
    # The port is closed by now.
    found = failed(f"http://https://localhost:{port}", authority)
    assert "no connection" in found["encrypted"]


@pytest.mark.parametrize(
    ("preface", "uri"),
    [
        pytest.param(servers.postgresql, "postgres://localhost:{}/d?sslmode=verify-full", id="postgresql"),
        pytest.param(servers.mysql, "mysql://localhost:{}/d?ssl_mode=VERIFY_IDENTITY", id="mysql"),
        pytest.param(servers.smtp, "smtp://localhost:{}?disable_ssl=true", id="smtp"),
        pytest.param(lambda plain: True, "redis://localhost:{}?ssl=true&ssl_check_hostname=true", id="redis"),
        pytest.param(lambda plain: True, "imap://localhost:{}", id="imap"),
        pytest.param(lambda plain: True, "smtp://localhost:{}", id="smtp at once"),
    ],
)  # fmt: skip
def test_each_way_to_begin(
    authority: Authority, good: Path, preface: servers.Preface, uri: str
) -> None:
    with serving(servers.context_of(good), preface) as port:
        assert failed(uri.format(port), authority) == {}


@pytest.mark.parametrize(
    ("preface", "uri"),
    [
        pytest.param(servers.postgresql_without, "postgres://localhost:{}/d?sslmode=verify-full", id="postgresql"),
        pytest.param(servers.mysql_without, "mysql://localhost:{}/d?ssl_mode=VERIFY_IDENTITY", id="mysql"),
        pytest.param(servers.smtp_stripped, "smtp://localhost:{}?disable_ssl=1", id="smtp"),
    ],
)  # fmt: skip
def test_what_is_taken_away_is_noticed(
    authority: Authority, good: Path, preface: servers.Preface, uri: str
) -> None:
    with serving(servers.context_of(good), preface) as port:
        found = failed(uri.format(port), authority)
    assert set(found) == {"encrypted"}
    assert "removed the offer" in found["encrypted"]


@pytest.mark.parametrize(
    "answer", [b"", b"\0" * 40, b"\xff" * 300, b"220 \xff\r\n", b"\x03\0\0\0\n8\0", b"S"]
)
@pytest.mark.parametrize("kind", ["postgres", "mysql", "smtp", "https"])
def test_nonsense_is_an_answer_too(authority: Authority, kind: str, answer: bytes) -> None:
    def speak(plain: Any) -> bool:
        plain.sendall(answer)
        return False

    with serving(None, speak) as port:
        uri = (
            f"{kind}://localhost:{port}?sslmode=verify-full&ssl_mode=VERIFY_IDENTITY&disable_ssl=1"
        )
        assert "encrypted" in failed(uri, authority)


@pytest.mark.parametrize("kind", ["postgres", "mysql", "smtp", "https"])
def test_a_server_that_never_ends_does_not_keep_us(authority: Authority, kind: str) -> None:
    first = {"mysql": b"\xff\x0f\0\0", "smtp": b"220"}.get(kind, b"")

    def drip(plain: Any) -> bool:
        plain.sendall(first)
        while True:
            time.sleep(0.1)
            plain.sendall(b"-" if kind == "smtp" else b"\x16")

    with serving(None, drip) as port:
        facts = facts_of_uri(
            "c",
            f"{kind}://localhost:{port}?disable_ssl=1&sslmode=verify-full&ssl_mode=VERIFY_IDENTITY",
        )
        start = time.monotonic()
        found = check_connection(facts, timeout=0.3)
        assert time.monotonic() - start < 20
    assert found[-1].check == "encrypted"
    assert found[-1].outcome is not Outcome.PASSED


@pytest.mark.parametrize(
    ("uri", "outcome", "says"),
    [
        ("postgres://h/d", Outcome.FAILED, "only if the server offers it"),
        ("postgres://h/d?sslmode=disable", Outcome.FAILED, "no TLS"),
        ("postgres://h/d?sslmode=require", Outcome.FAILED, "not verified"),
        ("postgres://h/d?sslmode=verify-ca", Outcome.FAILED, "but not its name"),
        ("postgres://h/d?sslmode=verify-full", Outcome.PASSED, "verified"),
        ("postgres://h/d?sslmode=sure", Outcome.UNKNOWN, "not a mode"),
        ("postgres:///d?sslmode=verify-full", Outcome.UNKNOWN, "no host"),
        ("mysql://h/d", Outcome.FAILED, "only if the server offers it"),
        ('mysql://h/d?__extra__={"ssl": {"ca": "/c"}}', Outcome.FAILED, "but not its name"),
        ('mysql://h/d?__extra__={"ssl": {"ca": "/c", "check_hostname": true}}', Outcome.FAILED, "but not its name"),
        ('mysql://h/d?__extra__={"client": "mysql-connector-python", "ssl_ca": "/c", "ssl_verify_identity": true}', Outcome.PASSED, ""),
        ("https://h", Outcome.FAILED, "no TLS"),
        ("http://https://h", Outcome.PASSED, ""),
        ("rediss://h?ssl_check_hostname=true", Outcome.FAILED, "no TLS"),
        ("http://https://h?verify_ssl=false", Outcome.FAILED, "not verified"),
        ("smtp://h?disable_tls=false", Outcome.PASSED, ""),
        ("postgres://h/d?sslmode=verify-full&hostaddr=10.0.0.1", Outcome.UNKNOWN, "another server"),
        ("aws://?service_config=%7B%22s3%22%3A%7B%22endpoint_url%22%3A%22http%3A%2F%2Fm%22%7D%7D", Outcome.FAILED, "no TLS"),
        ("slack://?base_url=http%3A%2F%2Fevil", Outcome.UNKNOWN, "a server other than"),
        ("http://h", Outcome.FAILED, "no TLS"),
        ("http://h/https", Outcome.PASSED, ""),
        ("http://https%3A%2F%2Fh%2Fpath", Outcome.PASSED, ""),
        ('http://https://h?__extra__={"verify": false}', Outcome.FAILED, "not verified"),
        ("aws://", Outcome.PASSED, ""),
        ("aws://?endpoint_url=http%3A%2F%2Fminio%3A9000", Outcome.FAILED, "no TLS"),
        ("aws://?verify=False", Outcome.FAILED, "not verified"),
        ("smtp://h?disable_ssl=true&disable_tls=true", Outcome.FAILED, "no TLS"),
        ("smtp://h?ssl_context=none", Outcome.FAILED, "not verified"),
        ("redis://h", Outcome.FAILED, "no TLS"),
        ("redis://h?ssl=true&ssl_cert_reqs=none", Outcome.FAILED, "not verified"),
        ("imap://h?use_ssl=false", Outcome.FAILED, "no TLS"),
        ("sqlite:///x.db", Outcome.PASSED, "does not leave the machine"),
        ("mlsec://?register_url=sqlite%3A%2F%2F%2Fx.db", Outcome.PASSED, "does not leave"),
        ("mlsec://?register_url=postgresql%3A%2F%2Fh%2Fd", Outcome.FAILED, "only if"),
        ("google-cloud-platform://", Outcome.PASSED, ""),
        ("carrier-pigeon://h", Outcome.UNKNOWN, "not known here"),
    ],
)  # fmt: skip
def test_what_connections_require(uri: str, outcome: Outcome, says: str) -> None:
    [finding] = check_connection(facts_of_uri("c", uri), live=False)
    check = "local" if says.startswith("does not leave") else "required"
    assert (finding.outcome, finding.check) == (outcome, check)
    assert says in finding.detail


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"conn_type": "smtp", "host": "h", "extra": {"disable_ssl": "false", "disable_tls": "no"}}, "no TLS"),
        ({"conn_type": "http", "host": "https://h", "extra": {"verify": ""}}, "not verified"),
        ({"conn_type": "http", "host": "https://h", "extra": {"verify": None}}, "not verified"),
        ({"conn_type": "http", "host": "/x"}, "no TLS"),
        ({"conn_type": "aws", "extra": {"service_config": {"s3": {"endpoint_url": "http://minio"}}}}, "no TLS"),
        ({"conn_type": "aws", "extra": {"verify": 0}}, "not verified"),
        ({"conn_type": "redis", "host": "h", "extra": {"ssl": True, "ssl_check_hostname": True, "ssl_cert_reqs": None}}, "not verified"),
        ({"conn_type": "imap", "host": "h", "extra": {"use_ssl": ""}}, "no TLS"),
    ],
)  # fmt: skip
def test_what_providers_take_for_no(fields: dict[str, Any], says: str) -> None:
    [finding] = check_connection(facts_of_fields("c", fields), live=False)
    assert finding.outcome is Outcome.FAILED
    assert says in finding.detail


def test_connections_are_read_without_their_secrets(tmp_path: Path) -> None:
    environ = {
        "AIRFLOW_CONN_LAKE": f"postgres://u:{PASSWORD}@db/x?sslmode=verify-full",
        "AIRFLOW_CONN_MAIL": json.dumps({"conn_type": "smtp", "host": "m", "password": PASSWORD, "extra": {"p": PASSWORD}}),
        "AIRFLOW_CONN_EMPTY": "", "OTHER": "x",
    }  # fmt: skip
    found = environment_connections(environ)
    assert [facts.conn_id for facts in found] == ["lake", "mail"]
    assert PASSWORD not in repr(found)
    (tmp_path / "c.env").write_text(f"# all\nlake=postgres://u:{PASSWORD}@db/x\n")
    (tmp_path / "c.json").write_text(
        json.dumps(
            {
                "lake": {
                    "conn_type": "postgres",
                    "host": "db",
                    "port": "5433",
                    "extra": '{"sslmode": "require"}',
                }
            }
        )
    )
    (tmp_path / "c.yaml").write_text("lake: {conn_type: postgres, host: db}\nmail: 'smtp://m'\n")
    assert exported_connections(tmp_path / "c.env")[0].host == "db"
    [lake] = exported_connections(tmp_path / "c.json")
    assert (lake.port, lake.extra) == (5433, {"sslmode": "require"})
    assert [f.conn_type for f in exported_connections(tmp_path / "c.yaml")] == ["postgres", "smtp"]
    for name, text in (("a.json", "["), ("a.yaml", "- x"), ("b.json", "3")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UsageError, match="airflow connections export"):
            exported_connections(tmp_path / name)
    two = facts_of_uri("c", f"http://https://u:{PASSWORD}@api.example/x")
    assert (two.host, two.schema) == ("https://api.example", "x")
    assert PASSWORD not in repr(two)
    (tmp_path / "alias.yaml").write_text("a: &x {conn_type: aws, extra: {b: *x}}\n")
    with pytest.raises(UsageError, match="airflow connections export"):
        exported_connections(tmp_path / "alias.yaml")
    for bad in (f"//{PASSWORD}", f"postgres://u:{PASSWORD}@[x", f"a://h:{PASSWORD}/"):
        with pytest.raises(SettingError, match="not a URI") as caught:
            facts_of_uri("c", bad)
        assert PASSWORD not in str(caught.value)
    for fields in ({"port": PASSWORD}, {"extra": PASSWORD}, {"extra": "[1]"}):
        with pytest.raises(SettingError) as caught:
            facts_of_fields("c", {"conn_type": "http", **fields})
        assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"conn_type": "http", "schema": "https", "host": "a..b"},
        {"conn_type": "http", "schema": "https", "host": "x" * 300},
        {"conn_type": "http", "schema": "https", "host": "a\0b"},
        {"conn_type": "http", "host": "https://[::1"},
        {"conn_type": "http", "host": "https://h:port"},
        {"conn_type": "aws", "extra": {"endpoint_url": "https://[x"}},
        {"conn_type": "http", "schema": "https", "host": "localhost", "port": 99_999},
        {"conn_type": "postgres", "host": 5, "extra": {"sslmode": ["verify-full"]}},
        {"conn_type": "mysql", "host": "h.invalid", "extra": {"ssl": ["x"], "ssl_mode": 7}},
        {"conn_type": 7, "host": ["x"]},
    ],
)
def test_what_is_no_address_has_not_passed(fields: dict[str, Any]) -> None:
    found = check_connection(facts_of_fields("c", fields), timeout=1)
    assert any(finding.outcome is not Outcome.PASSED for finding in found)


def test_a_file_of_authorities_that_is_none(
    authority: Authority, good: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.pem").write_text("")
    with serving(servers.context_of(good)) as port:
        for name, says in (("missing.pem", "is not there"), ("empty.pem", "holds no certificates")):
            facts = facts_of_fields(
                "c",
                {"conn_type": "redis", "host": "localhost", "port": port,
                 "extra": {"ssl": True, "ssl_check_hostname": True, "ssl_ca_certs": str(tmp_path / name)}},
            )  # fmt: skip
            found = check_connection(facts, timeout=5)
            assert (found[-1].outcome, says in found[-1].detail) == (Outcome.UNKNOWN, True)


def test_the_command(mlsec: Run, authority: Authority, good: Path) -> None:
    with serving(servers.context_of(good)) as port:
        env = {"AIRFLOW_CONN_GOOD": f"http://https://u:{PASSWORD}@localhost:{port}"}
        arguments = ("transport", "check", "--ca", authority.file)
        done = mlsec(*arguments, env=env)
        assert done.returncode == 0, done.stderr
        assert "90 days left" in done.stdout
        env["AIRFLOW_CONN_BAD"] = f"http://localhost:{port}"
        done = mlsec(*arguments, "--json", env=env)
        assert done.returncode == 1
        bad = [f for f in json.loads(done.stdout) if f["outcome"] != "passed"]
        assert [(f["connection"], f["check"]) for f in bad] == [("bad", "required")]
        assert PASSWORD not in done.stdout + done.stderr
        assert mlsec(*arguments, "good", env=env).returncode == 0
        assert mlsec(*arguments, "--days", "91", "good", env=env).returncode == 1
        assert "no connection 'x'" in mlsec(*arguments, "x", env=env).stderr
    assert mlsec("transport", "check").returncode == 2
