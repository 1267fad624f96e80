"""Secrets are found where people leave them, and never shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_mlsec.errors import UsageError
from airflow_mlsec.secret_scan import scan_connections, scan_folder, scan_variables
from airflow_mlsec.transport import facts_of_fields

Run = Callable[..., Any]
# Put together here, so that this file is none that holds secrets.
AWS = "AKIA" + "Z3MH7RQX2KLPW9TB"
SLACK = "-".join(["xoxb", "263594206564", "2343594206574", "FGqddMF8t08v8N7Oq4i57vs1"])
STRIPE = "sk_" + "live_" + "9aXk27bQpLmZ3RtVw8Ye5UcD"
JWT = ".".join(
    ["eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0NTY3ODkwIn0", "dozjgNryP4J3jK92mVnT8WcL0xQ"]
)
PLAIN = "correct-horse-" + "battery-51"
RANDOM = "q7Vx2LzP9sKd" + "T4wBnM8fYc3RhJ6a"
SECRETS = (AWS, SLACK, STRIPE, JWT, PLAIN, RANDOM)

DAG = f'''\
import os
key = "{AWS}"
client = connect(password="{PLAIN}")
slack = "{SLACK}"
url = "postgres://etl:{PLAIN}@db.example/lake"
token = "{JWT}"
stripe = "{STRIPE}"
random_key = "{RANDOM}"
fine = os.environ["DB_PASSWORD"]
also = "{{{{ conn.lake.password }}}}"
told = "{AWS}"  # pragma: allowlist secret
'''


def test_secrets_in_dag_source(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "etl.py").write_text(DAG)
    (tmp_path / "dags" / "key.pem").write_text("-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\n")
    (tmp_path / "dags" / "model.bin").write_bytes(b"\0\xff" * 100)
    (tmp_path / "dags" / "odd.py").write_bytes(b"x = '\xff'")
    (tmp_path / "dags" / "large.json").write_text(" " * (6 << 20))
    (tmp_path / "dags" / "__pycache__").mkdir()
    (tmp_path / "dags" / "__pycache__" / "etl.py").write_text(DAG)
    (tmp_path / "dags" / "link.py").symlink_to(tmp_path / "dags" / "etl.py")
    found = [*scan_folder(tmp_path / "dags")]
    by_line = {e.place.rpartition("/")[2]: e.kind for e in found}
    assert list(by_line) == [
        *(f"etl.py:{line}" for line in range(2, 9)), "key.pem:1", "large.json", "odd.py",
    ]  # fmt: skip
    for line, kind in (
        (2, "AWS Access Key"), (3, "Secret by its name"), (4, "Slack Token"), (5, "Basic Auth Credentials"),
        (6, "JSON Web Token"), (7, "Stripe Access Key"), (8, "Entropy"),
    ):  # fmt: skip
        assert kind in by_line[f"etl.py:{line}"]
    assert "Private Key" in by_line["key.pem:1"]
    assert "larger than 5 MiB" in by_line["large.json"]
    assert "not readable as text" in by_line["odd.py"]
    assert not any(secret in repr(found) for secret in SECRETS)
    with pytest.raises(UsageError, match="no folder"):
        [*scan_folder(tmp_path / "none")]


def test_the_ways_that_python_names_a_secret(tmp_path: Path) -> None:
    lines = [
        f'Connection(conn_id="x", password="{PLAIN}")',
        f'args = dict(api_key="{PLAIN}")',
        f'os.environ.setdefault("DB_PASSWORD", "{PLAIN}")',
        f'Variable.set("token", "{PLAIN}")',
        f'def connect(host="h", password="{PLAIN}", *, secret_key="{PLAIN}"): ...',
        f'config["client_secret"] = b"{PLAIN}"',
        f'self.access_token: str = "{PLAIN}"',
        f'if (passwd := "{PLAIN}"): ...',
        'x = {"password": os.environ["P"], "api_key": "", "token": "{{ var.value.t }}"}',
        'get("password", default)', 'password = None', 'token_url = "https://idp.example/token"',
    ]  # fmt: skip
    (tmp_path / "dag.py").write_text("\n".join(lines))
    found = [e.place.rpartition(":")[2] for e in scan_folder(tmp_path)]
    assert found == [str(line) for line in range(1, 9)]


@pytest.mark.parametrize(
    "line",
    [
        f'Variable.set(key="api_key", value="{PLAIN}")',
        f'p = Variable.get("db_password", default_var="{PLAIN}")',
        f'p = os.environ.get("DB_PASSWORD", "{PLAIN}")',
        f'password = os.getenv("DB_PW") or "{PLAIN}"',
        f'user, password = "u", "{PLAIN}"',
        f'password = "correct" + "{PLAIN}"',
        f'password = "{PLAIN}" if prod else None',
        f'password = SecretStr("{PLAIN}")',
        f'token = "{PLAIN}".encode()',
        f'PASSWORDS = {{"alice": "{PLAIN}"}}',
        f'API_KEYS = ["{PLAIN}"]',
        'password = 12345678',
        'password = "$uperSecret99"',
        f'password = "{{{{ a }}}}{PLAIN}{{{{ b }}}}"',
        f'setattr(c, "password", "{PLAIN}")',
        f'pairs = [("password", "{PLAIN}")]',
        f'BashOperator(task_id="x", bash_command="export PGPASSWORD={PLAIN}; psql")',
        f'command = "mysql -u x -p{PLAIN} lake"',
        f'command = "curl -u me:{PLAIN} https://h"',
        f'command = "tool --password {PLAIN}"',
        f'header = "Authorization: Bearer {PLAIN}"',
        f"""sql = "CREATE USER etl PASSWORD '{PLAIN}'" """,
        f'requests.get("https://h", auth=("me", "{PLAIN}"))',
        f'auth = HTTPBasicAuth("me", "{PLAIN}")',
        f'class A: password: str = Field(default="{PLAIN}")',
        f'password += "{PLAIN}"',
        f'FERNET_KEY = "{PLAIN}"',
        f"""extra = '{{"login": "etl", "password": "{PLAIN}"}}'""",
        f"""extra = "{{\\"login\\": \\"etl\\", \\"password\\": \\"{PLAIN}\\"}}" """,
        f'signing_key = encryption_key = "{PLAIN}"',
        f'DB_PASSWORD_PROD = password2 = db_pwd = "{PLAIN}"',
        f'cfg["db"]["password"] = "{PLAIN}"',
        f'engine = create_engine("postgresql://etl:{PLAIN}@db/lake")',
        f'client = WebClient("{SLACK}")',
        f'session = Session("{AWS}", region)',
        f'broker_url = "redis://:{PLAIN}@redis:6379/0"',
        f'x = ["a.long.line", "{"z" * 9_000}"]; password = "{PLAIN}"',
        f'x = ["a.long.line", "{"z z " * 3_000}"]; key = "{AWS}"',
    ],
)  # fmt: skip
def test_more_ways_to_name_a_secret(tmp_path: Path, line: str) -> None:
    (tmp_path / "DAG.PY").write_text(f"x = 1\n{line}\n")
    assert [e.place.rpartition(":")[2] for e in scan_folder(tmp_path)] == ["2"]


@pytest.mark.parametrize(
    "line",
    [
        'password = os.environ["DB_PASSWORD"]', 'token = get("token")', 'pad_token = "<pad>"', 'max_tokens = 4096',
        'tokens = ["the", "cat"]', 'eos_token = "</s>"', 'password_file = "/run/secrets/db"', 'token_url = "abc12345"',
        'client_secret = "CLIENT_SECRET"', 'password = "{{ conn.lake.password }}"', 'password = "${DB_PASSWORD}"',
        'secret = f"{a}-{b}"', 'api_key = "YOUR_API_KEY"', 'password = None', 'password = ""', 'password_length = 12',
        'check("password", "min_length")', 'secret_backend = "vault99"', 'bash_command = "psql -p 5432 $PGPASSWORD"',
        'sql = "SELECT token FROM t WHERE id = 7"', 'cmd = "PASSWORD=$(cat /run/secret) run"', 'key = "column_12"',
        'first_pass = "tokenize"', 'n_pass = backward_pass = 2000', 'ask("password", "Enter your password:")',
        'credentials_provider = "chain4"', 'tokenizer = "bert-base-v2"', 'cmd = "curl -u $USER:$PASSWORD https://h"',
    ],
)  # fmt: skip
def test_what_is_no_secret(tmp_path: Path, line: str) -> None:
    (tmp_path / "dag.py").write_text(f"{line}\n")
    assert [*scan_folder(tmp_path)] == []


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        (".env.prod", f"X=1\nDB_PW={PLAIN}\n", ":2"),
        ("main.tf", f'db_pwd = "{PLAIN}"\nother_pwd = var.pwd\n', ":1"),
        ("chart.yaml.j2", f"env: {{% if x %}}\nsigning_key: {PLAIN}\n", ":2"),
        ("pod.yaml", f"env:\n- name: DB_PW\n  value: {PLAIN}\n", ":3"),
        ("c.json", f'{{"hosts": ["a"],\n"passwords": {{"alice": "{PLAIN}"}}}}', ":2"),
        ("core-site.xml", f"<property><name>fs.s3a.secret.key</name>\n<value>{PLAIN}</value></property>", ":2"),
        ("airflow.cfg", f"[core]\n# fernet_key = {PLAIN}\n", ":2"),
        ("Dockerfile", f"ENV A=1 DB_PW={PLAIN}\n", ":1"),
        ("run.sh", f"PGPASSWORD={PLAIN} psql\n", ":1"),
        ("n.ipynb", json.dumps({"cells": [{"cell_type": "markdown", "source": ["x"]}, {"cell_type": "code", "source": ["\n", f'db_pw = "{PLAIN}"']}]}), " cell 2, line 2"),
    ],
)  # fmt: skip
def test_other_kinds_of_files(tmp_path: Path, name: str, text: str, place: str) -> None:
    (tmp_path / name).write_text(text)
    found = [*scan_folder(tmp_path)]
    assert [e.place for e in found] == [f"{tmp_path / name}{place}"]
    assert PLAIN not in repr(found)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.py", f'x = "{"curl " * 20_000}"'),
        ("m.py", f'x = "{"mysql " * 20_000}"'),
        ("a.cfg", "a=" + " " * 100_000 + "x y"),
        (".env", ("a=x" + " " * 500 + "b") * 200),
        ("p.xml", "<name>" + " " * 100_000),
        ("e.xml", "<a>" * 30_000),
        ("u.txt", "a://b:" * 20_000),
        ("j.js", "eyJ" * 30_000),
        ("deep.json", "[" * 50_000 + "]" * 50_000),
        ("deep.yaml", "- " * 50_000 + "x"),
        ("if.py", "password = " + "x if y else " * 1_000 + "z"),
    ],
    ids=lambda value: value[:10],
)
def test_no_file_takes_its_time(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    # Each took hours, or the process with it; the suite's own limit ends those.
    assert [e for e in scan_folder(tmp_path) if "Entropy" not in e.kind] == []


def test_names_above_a_value_do_not_hide_it(tmp_path: Path) -> None:
    auths = {
        "auths": {"https://registry.example/v1/": {"password": PLAIN}, "a, b:": {"token": PLAIN}}
    }
    (tmp_path / "config.json").write_text(json.dumps(auths, indent=1))
    assert len([*scan_folder(tmp_path)]) == 2


def test_what_cannot_be_scanned_is_said(tmp_path: Path) -> None:
    broken = {"cells": [1, {"cell_type": "code", "source": [f'k = "{AWS}"']}]}
    (tmp_path / "n.ipynb").write_text(json.dumps(broken))
    (tmp_path / "w.env").write_bytes("DB_PASSWORD=x".encode("utf-16"))
    kinds = {e.place.rpartition("/")[2]: e.kind for e in scan_folder(tmp_path)}
    assert "not a readable notebook" in kinds["n.ipynb"]
    assert "AWS" in kinds["n.ipynb:1"]
    assert "not readable as text" in kinds["w.env"]
    shown = {"cell_type": "code", "source": "x", "outputs": [{"text": ["\n", f"{AWS}\n"]}]}
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": [shown]}))
    assert any("cell 1, line 2" in e.place for e in scan_folder(tmp_path))


@pytest.mark.parametrize(
    "text", ["x=a" + ".b" * 20_000, "x=" + "f(" * 150 + ")" * 150, "x=" + "-" * 60_000 + "1", "x='\0'"]
)  # fmt: skip
def test_source_that_python_does_not_read_is_no_failure(tmp_path: Path, text: str) -> None:
    (tmp_path / "dag.py").write_text(f"{text}\nk = '{AWS}'\n")
    assert ["AWS" in e.kind for e in scan_folder(tmp_path)] == [True]


def test_secrets_in_extras() -> None:
    extra = {
        "sslmode": "verify-full", "region_name": "eu-central-1", "timeout": 30, "empty": "",
        "endpoint_url": "https://minio.example:9000", "token_url": "https://idp.example/token",
        "aws_secret_access_key": PLAIN, "nested": {"list": [{"bot": SLACK}], "client_secret": PLAIN},
        "api_key": "{{ var.value.key }}", "password": "${DB_PASSWORD}", "session": RANDOM,
        "service_account_email": "etl@project.iam.gserviceaccount.com", "key_path": "/run/key.json",
        "role_arn": "arn:aws:iam::123456789012:role/reader", "warehouse": "COMPUTE_WAREHOUSE_XLARGE",
    }  # fmt: skip
    found = [*scan_connections([facts_of_fields("lake", {"conn_type": "aws", "extra": extra})])]
    assert {e.place for e in found} == {
        "connection lake: extra `aws_secret_access_key`",
        "connection lake: extra `nested.list[0].bot`",
        "connection lake: extra `nested.client_secret`",
        "connection lake: extra `session`",
    }
    assert not any(secret in repr(found) for secret in SECRETS)


def test_secrets_in_variables(tmp_path: Path) -> None:
    exported = {
        "rows": "100", "owner": "data team", "slack_token": SLACK, "db_password": PLAIN,
        "config": json.dumps({"retries": 3, "stripe": STRIPE}), "secret_backend": "vault",
    }  # fmt: skip
    (tmp_path / "v.json").write_text(json.dumps(exported))
    found = [*scan_variables(tmp_path / "v.json")]
    assert [e.place for e in found] == [
        "variable `slack_token`", "variable `db_password`", "variable `config.stripe`",
    ]  # fmt: skip
    assert not any(secret in repr(found) for secret in SECRETS)
    (tmp_path / "v.yaml").write_text(f"deploy_key: {PLAIN}\nuser_passwd: {PLAIN}\n")
    assert [e.place for e in scan_variables(tmp_path / "v.yaml")] == ["variable `user_passwd`"]
    for name, text in (("a.json", "["), ("b.json", "[]"), ("c.yaml", ": :")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UsageError, match="airflow variables export"):
            [*scan_variables(tmp_path / name)]


def test_the_command(mlsec: Run, tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "fine.py").write_text("x = 1\n")
    done = mlsec("secrets", "scan", tmp_path / "dags")
    assert (done.returncode, done.stdout) == (0, "no secrets found\n")
    (tmp_path / "dags" / "etl.py").write_text(DAG)
    env = {"AIRFLOW_CONN_LAKE": json.dumps({"conn_type": "http", "extra": {"token": PLAIN}})}
    done = mlsec("secrets", "scan", tmp_path / "dags", "--environment", "--json", env=env)
    assert done.returncode == 1
    assert len(json.loads(done.stdout)) == 8
    assert not any(secret in done.stdout + done.stderr for secret in SECRETS)
    assert "8 to move into a secrets backend" in (
        mlsec("secrets", "scan", tmp_path / "dags", "--environment", env=env).stdout
    )
    assert mlsec("secrets", "scan").returncode == 2
