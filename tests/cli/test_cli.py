"""The command line as a user meets it, judged by output and exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pyarrow as pa
import pyrage
import pytest

from airflow_mlsec.cli._main import root
from airflow_mlsec.crypto import HybridIdentity, Identity
from tests import canaries
from tests.lineage.events import dataset, event, lineage

Run = Callable[..., subprocess.CompletedProcess[str]]

POLICY = """\
version: 1
dataset: {folder}/raw.csv
owner: team
controller: Example Clinic
purposes: [research]
lawful_basis: {{basis: consent, source: form 7}}
retention: {{keep: P90Y, from: born}}
subject: {{kind: person, key: email}}
membership: keep
columns:
  email: {{role: identifying, category: user.contact.email, transform: {{method: pseudonymize, domain: person}}}}
  name: {{role: identifying, category: user.name, transform: {{method: drop}}}}
  born: {{role: quasi-identifying, category: user.demographic.date_of_birth, hierarchy: {{kind: date}}}}
  sick: {{role: sensitive, category: user.health_and_medical}}
privacy: {{k_anonymity: 3}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    rows = [
        f"p{i}@example.org,Person {i},19{60 + i % 3}-0{1 + i % 9}-11,{i % 2}" for i in range(30)
    ]
    rows.append(f"{canaries.EMAIL},{canaries.NAME},1960-01-01,1")
    (work / "raw.csv").write_text("email,name,born,sick\n" + "\n".join(rows) + "\n")
    (work / "people.yaml").write_text(POLICY.format(folder=work))
    return work


def test_help_is_instant_and_complete(mlsec_process: Run) -> None:
    mlsec_process("--help")
    best = min(_timed(mlsec_process) for _ in range(5))
    print(f"mlsec --help: {best * 1000:.0f} ms")
    text = mlsec_process("--help").stdout
    for command in (
        "anonymize",
        "check",
        "db",
        "decrypt",
        "encrypt",
        "keys",
        "lineage",
        "policy",
        "subject",
    ):
        assert command in text


def _timed(mlsec_process: Run) -> float:
    start = time.perf_counter()
    mlsec_process("--help")
    return time.perf_counter() - start


def commands(of: click.Command = root, named: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command of the tree."""
    yield named
    if isinstance(of, click.Group):
        context = click.Context(of)
        for name in of.list_commands(context):
            inner = of.get_command(context, name)
            assert inner is not None
            yield from commands(inner, (*named, name))


def test_every_command_explains_itself(mlsec: Run) -> None:
    found = list(commands())
    assert len(found) > 80
    for command in found:
        done = mlsec(*command, "--help")
        assert done.returncode == 0, command
        usage, _, text = done.stdout.partition("\n\n")
        assert usage.startswith("Usage: mlsec"), command
        assert text.strip(), command
        assert not text.lstrip().startswith("Options:"), command


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (("policy", "validate", "people.yaml"), None), (("policy", "validate", "none.yaml"), None),
        (("check", "people.yaml", "--json"), None), (("nothing",), None), (("keys", "list", "--json"), None),
        (("subject", "locate", "--kind", "person", "--key", "-"), "x@x.test\n"), (("subject", "open"), None),
        (("rules", "show"), None), (("subject", "status", "7", "--json"), None),
    ],
)  # fmt: skip
def test_in_this_process_it_does_what_it_does_in_its_own(
    mlsec: Run, mlsec_process: Run, folder: Path, arguments: tuple[str, ...], stdin: str | None
) -> None:
    given = [str(folder / a) if a.endswith(".yaml") else a for a in arguments]
    one, other = (run(*given, stdin=stdin) for run in (mlsec_process, mlsec))
    assert (one.returncode, one.stdout, one.stderr) == (
        other.returncode,
        other.stdout,
        other.stderr,
    )


def test_policy_validate(mlsec: Run, folder: Path) -> None:
    done = mlsec("policy", "validate", folder / "people.yaml")
    assert done.returncode == 0, done.stderr
    assert "valid, 4 columns" in done.stdout
    (folder / "people.yaml").write_text(POLICY.format(folder=folder).replace("owner", "ownr"))
    done = mlsec("policy", "validate", folder)
    assert done.returncode == 2
    assert f"{folder}/people.yaml:3:1: unknown key 'ownr'" in done.stdout
    [found] = json.loads(mlsec("policy", "validate", folder, "--json").stdout)
    assert found["valid"] is False
    assert mlsec("policy", "validate", folder / "none").returncode == 2


def test_policy_schema_is_json(mlsec: Run) -> None:
    assert json.loads(mlsec("policy", "schema").stdout)["title"]


def test_the_whole_way(mlsec_process: Run, folder: Path, read: Callable[..., pa.Table]) -> None:
    """Check, anonymize, check the release, find the person: what the operators do, by hand."""
    policy, raw, safe = folder / "people.yaml", folder / "raw.csv", folder / "safe.parquet"
    done = mlsec_process("check", policy, "--record")
    assert done.returncode == 0, done.stdout
    done = mlsec_process(
        "anonymize",
        policy,
        raw,
        safe,
        "--plan-out",
        folder / "plan.json",
        "--report",
        folder / "r.json",
    )
    assert done.returncode == 0, done.stderr
    assert "31 of 31 rows released, 0 suppressed" in done.stdout
    assert read(safe).schema.names == ["email", "born", "sick"]
    report = json.loads((folder / "r.json").read_text())
    assert report["subjects"] == 31
    steps = {"scan", "aggregate", "fit", "apply", "verify", "write"}
    assert set(report["timings_ms"]) == steps
    assert report["peak_memory_mib"] > 10
    done = mlsec_process("check", policy, "--dataset", safe, "--stage", "release", "--raw", raw)
    assert done.returncode == 0, done.stdout
    done = mlsec_process(
        "anonymize", policy, raw, folder / "again.parquet", "--plan", folder / "plan.json"
    )
    assert (folder / "again.parquet").read_bytes() == safe.read_bytes()
    done = mlsec_process(
        "subject", "locate", "--kind", "person", "--key", "-", stdin=f"{canaries.EMAIL}\n"
    )
    assert done.returncode == 1, "there is no Airflow here whose stores could be looked into"
    assert "found in 3 of 5 places" in done.stdout
    assert canaries.found_in(done.stdout + done.stderr) == []
    for path, _ in canaries.found_below(folder.parent, [raw]):
        raise AssertionError(f"{path} holds a raw value")


def test_an_undeclared_column_is_refused_with_its_own_exit_code(
    mlsec_process: Run, folder: Path
) -> None:
    text = (folder / "raw.csv").read_text().replace("sick\n", "sick,ssn\n", 1)
    (folder / "raw.csv").write_text(text.replace(",1\n", ",1,x\n").replace(",0\n", ",0,x\n"))
    done = mlsec_process(
        "anonymize", folder / "people.yaml", folder / "raw.csv", folder / "s.parquet", "--json"
    )
    assert done.returncode == 3
    assert "'ssn'" in done.stderr
    assert json.loads(done.stdout)["error"] == "UndeclaredColumn"
    assert not (folder / "s.parquet").exists()


def test_a_failed_check_has_exit_code_1(mlsec: Run, folder: Path) -> None:
    text = POLICY.format(folder=folder).replace("controller: Example Clinic\n", "")
    (folder / "people.yaml").write_text(text)
    done = mlsec("check", folder / "people.yaml", "--json")
    assert done.returncode == 1
    failed = [item["control"] for item in json.loads(done.stdout) if not item["passed"]]
    assert failed == ["controller-named"]


def test_encrypt_and_decrypt_with_the_other_implementation(mlsec: Run, folder: Path) -> None:
    identity = pyrage.x25519.Identity.generate()
    (folder / "key.txt").write_text(f"# comment\n{identity}\n")
    source = folder / "raw.csv"
    done = mlsec("encrypt", source, folder / "a.age", "-r", str(identity.to_public()))
    assert done.returncode == 0, done.stderr
    assert pyrage.decrypt((folder / "a.age").read_bytes(), [identity]) == source.read_bytes()
    (folder / "b.age").write_bytes(pyrage.encrypt(source.read_bytes(), [identity.to_public()]))
    done = mlsec("decrypt", folder / "b.age", folder / "b.csv", "-i", folder / "key.txt")
    assert done.returncode == 0, done.stderr
    assert (folder / "b.csv").read_bytes() == source.read_bytes()


def test_recipients_and_identities_come_from_age_s_own_files(mlsec: Run, folder: Path) -> None:
    mine, theirs = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    (folder / "key.txt").write_text(f"# comment\n{mine}\n")
    (folder / "recipients.txt").write_text(f"# team\n{theirs.to_public()}\n\n")
    target = folder / "a.age"
    done = mlsec(
        "encrypt",
        folder / "raw.csv",
        target,
        "-i",
        folder / "key.txt",
        "-R",
        folder / "recipients.txt",
    )
    assert done.returncode == 0, done.stderr
    for identity in (mine, theirs):
        assert pyrage.decrypt(target.read_bytes(), [identity]) == (folder / "raw.csv").read_bytes()


def test_encrypt_to_the_ring_and_a_wrong_key(mlsec: Run, folder: Path) -> None:
    source = folder / "raw.csv"
    assert mlsec("encrypt", source, folder / "a.age", "--key", "artifact").returncode == 0
    assert mlsec("decrypt", folder / "a.age", folder / "a", "--key", "artifact").returncode == 0
    assert mlsec("keys", "create", "other", "--kind", "x25519").returncode == 0
    done = mlsec("decrypt", folder / "a.age", folder / "b", "--key", "other")
    assert done.returncode == 3
    assert "no output was written" in done.stderr
    assert not (folder / "b").exists()
    recipient = mlsec("keys", "export", "artifact").stdout.strip()
    # What has to stay secret for long is encrypted so that a quantum computer does not open it.
    assert recipient.startswith("age1pq1")
    assert mlsec("encrypt", source, folder / "c.age").returncode == 2
    assert mlsec("encrypt", source, folder / "c.age", "-r", "age1x").returncode == 2
    assert mlsec("encrypt", folder / "none", folder / "c.age", "--key", "artifact").returncode == 2


def test_armor_ranges_and_new_recipients(mlsec: Run, folder: Path) -> None:
    source, sealed = folder / "raw.csv", folder / "a.age"
    mine = Identity.generate()
    (folder / "me.txt").write_text(f"{mine.export()}\n")
    (folder / "post.txt").write_text(f"{HybridIdentity.generate().export()}\n")
    assert mlsec("encrypt", source, sealed, "-a", "-r", str(mine.recipient)).returncode == 0
    assert sealed.read_text().startswith("-----BEGIN AGE ENCRYPTED FILE-----\n")
    assert mlsec("decrypt", sealed, folder / "b", "-i", folder / "me.txt").returncode == 0
    assert (folder / "b").read_bytes() == source.read_bytes()
    assert (
        mlsec(
            "encrypt", source, sealed, "-i", folder / "post.txt", "-r", str(mine.recipient)
        ).returncode
        == 2
    )
    assert (
        mlsec("encrypt", source, sealed, "--key", "classic", "-r", str(mine.recipient)).returncode
        == 0
    )
    part = mlsec("decrypt", sealed, folder / "c", "--key", "classic", "--range", "5-25")
    assert part.returncode == 0, part.stderr
    assert (folder / "c").read_bytes() == source.read_bytes()[5:25]
    assert (
        mlsec("decrypt", sealed, folder / "d", "--key", "classic", "--range", "9-5").returncode == 2
    )
    done = mlsec("rewrap", sealed, "--key", "classic", "--to-key", "later")
    assert done.returncode == 0, done.stderr
    assert mlsec("decrypt", sealed, folder / "e", "--key", "later").returncode == 0
    assert (folder / "e").read_bytes() == source.read_bytes()
    assert mlsec("decrypt", sealed, folder / "f", "-i", folder / "me.txt").returncode == 3
    assert mlsec("rewrap", sealed, "--key", "later").returncode == 2


def test_standard_input_and_output(
    folder: Path, mlsec_bytes: Callable[..., subprocess.CompletedProcess[bytes]]
) -> None:
    """In a pipe, beside age; and what is cut off is told by the exit status."""
    run = mlsec_bytes
    plain = os.urandom(300_000)
    sealed = run("encrypt", "-", "-", "--key", "artifact", data=plain)
    assert sealed.returncode == 0, sealed.stderr
    assert run("decrypt", "-", "-", "--key", "artifact", data=sealed.stdout).stdout == plain
    mine = Identity.generate()
    (folder / "me.txt").write_text(f"{mine.export()}\n")
    armored = run("encrypt", "-", "-", "-a", "-r", str(mine.recipient), data=plain)
    theirs = pyrage.x25519.Identity.from_str(mine.export())
    assert armored.stdout.startswith(b"-----BEGIN AGE")
    made = run("encrypt", "-", folder / "x.age", "-r", str(mine.recipient), data=plain)
    assert made.returncode == 0
    assert pyrage.decrypt((folder / "x.age").read_bytes(), [theirs]) == plain
    back = run("decrypt", folder / "x.age", "-", "-i", folder / "me.txt")
    assert back.stdout == plain
    assert (
        run("decrypt", folder / "x.age", "-", "-i", folder / "me.txt", "--range", "5-25").stdout
        == plain[5:25]
    )
    cut = run("decrypt", "-", "-", "--key", "artifact", data=sealed.stdout[:-1])
    assert cut.returncode == 3
    assert plain.startswith(cut.stdout)
    assert len(cut.stdout) < len(plain)
    lost = run("decrypt", "-", folder / "never", "--key", "artifact", data=sealed.stdout[:-1])
    assert (lost.returncode, (folder / "never").exists()) == (3, False)
    (folder / "model").mkdir()
    (folder / "model" / "w.bin").write_bytes(plain)
    packed = run("encrypt", folder / "model", "-", "--key", "artifact", "--compress")
    assert (
        run(
            "decrypt", "-", folder / "back", "--folder", "--key", "artifact", data=packed.stdout
        ).returncode
        == 0
    )
    assert (folder / "back" / "w.bin").read_bytes() == plain
    for wrong, says in (
        (("encrypt", "-", "-", "--passphrase-file", "-"), b"standard input cannot be both"),
        (("decrypt", "-", "-", "--passphrase-file", "-"), b"standard input cannot be both"),
        (("decrypt", "-", "-", "--folder", "--key", "artifact"), b"name a new folder"),
        (
            ("decrypt", "-", "-", "--range", "1-2", "--key", "artifact"),
            b"a range of standard input",
        ),
        (("decrypt", folder / "model", "-", "--key", "artifact"), b"is a folder"),
        (("encrypt", "-", "-", "--compress", "--key", "artifact"), b"--compress is for folders"),
    ):
        refused = run(*wrong)
        assert (refused.returncode, refused.stdout) == (2, b""), wrong
        assert says in refused.stderr
    terminal, end = os.openpty()
    home = {"PATH": os.environ["PATH"], "AIRFLOW_HOME": str(folder / "home")}
    command = [
        str(Path(sys.executable).with_name("mlsec")),
        "encrypt",
        "-",
        "-",
        "-r",
        str(mine.recipient),
    ]
    shown = subprocess.run(
        command, input=b"x", stdout=end, stderr=subprocess.PIPE, env=home, check=False
    )
    os.close(terminal)
    os.close(end)
    assert (shown.returncode, b"not for a terminal" in shown.stderr) == (2, True)


def test_a_file_named_like_a_stream(folder: Path, mlsec_bytes: Callable[..., subprocess.CompletedProcess[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    (folder / "-").write_bytes(b"of the file")
    sealed = mlsec_bytes("encrypt", "./-", "-", "--key", "artifact", data=b"of the stream")
    assert mlsec_bytes("decrypt", "-", "-", "--key", "artifact", data=sealed.stdout).stdout == b"of the file"  # fmt: skip


def test_an_armored_file_is_rewrapped(mlsec: Run, folder: Path) -> None:
    source, sealed = folder / "raw.csv", folder / "a.age"
    assert mlsec("encrypt", source, sealed, "-a", "--key", "artifact").returncode == 0
    done = mlsec("rewrap", sealed, "--key", "artifact", "--to-key", "later")
    assert done.returncode == 0, done.stderr
    assert sealed.read_text().startswith("-----BEGIN AGE ENCRYPTED FILE-----\n")
    assert mlsec("decrypt", sealed, folder / "b", "--key", "later").returncode == 0
    assert (folder / "b").read_bytes() == source.read_bytes()


def test_a_terminated_command_leaves_nothing(folder: Path) -> None:
    """A supervisor's SIGTERM while a folder is unpacked left its plaintext there."""
    mine = Identity.generate()
    (folder / "me.txt").write_text(f"{mine.export()}\n")
    home = {"PATH": os.environ["PATH"], "AIRFLOW_HOME": str(folder / "home")}
    (folder / "model").mkdir()
    (folder / "model" / "w").write_bytes(b"secret" * 99)
    program = str(Path(sys.executable).with_name("mlsec"))
    subprocess.run([program, "encrypt", folder / "model", folder / "m.age", "-r", str(mine.recipient)], env=home, check=True)  # fmt: skip
    data = (folder / "m.age").read_bytes()
    process = subprocess.Popen(
        [program, "decrypt", "-", folder / "back", "--folder", "-i", folder / "me.txt"], stdin=subprocess.PIPE, env=home
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(data[:-20])
    process.stdin.flush()
    for _ in range(300):
        if list(folder.glob(".back.*.partial")):
            break
        time.sleep(0.1)
    assert list(folder.glob(".back.*.partial"))
    # Ended in the very moment in which it is made, an empty folder stays, which the next command removes.
    time.sleep(1)
    process.terminate()
    assert process.wait(30) == 143
    assert not list(folder.glob(".back*"))
    assert not (folder / "back").exists()


def test_a_rewrapped_file_says_that_its_signature_is_void(mlsec: Run, folder: Path) -> None:
    source, sealed = folder / "raw.csv", folder / "a.age"
    assert mlsec("encrypt", source, sealed, "--key", "artifact").returncode == 0
    done = mlsec("rewrap", sealed, "--key", "artifact", "--to-key", "later")
    assert "void" not in done.stderr
    assert mlsec("sign", sealed).returncode == 0
    done = mlsec("rewrap", sealed, "--key", "later", "--to-key", "artifact")
    assert done.returncode == 0, done.stderr
    assert "a.age.sig.json is void now" in done.stderr
    assert mlsec("verify", sealed).returncode == 3


def test_a_folder(mlsec: Run, folder: Path) -> None:
    (folder / "model" / "deep").mkdir(parents=True)
    (folder / "model" / "deep" / "w.bin").write_bytes(b"weights")
    sealed = folder / "m.tar.age"
    assert mlsec("encrypt", folder / "model", sealed, "--key", "artifact").returncode == 0
    done = mlsec("decrypt", sealed, folder / "back", "--key", "artifact", "--folder")
    assert done.returncode == 0, done.stderr
    assert (folder / "back" / "deep" / "w.bin").read_bytes() == b"weights"
    assert (
        mlsec("decrypt", sealed, folder / "back", "--key", "artifact", "--folder").returncode == 2
    )
    assert mlsec("encrypt", folder / "model", sealed, "--key", "artifact", "-a").returncode == 2


def test_sign_and_verify_on_another_machine(mlsec: Run, folder: Path, tmp_path: Path) -> None:
    source = folder / "raw.csv"
    assert mlsec("sign", source).returncode == 0
    assert mlsec("verify", source).returncode == 0
    (tmp_path / "signer.pem").write_text(mlsec("keys", "export", "signing").stdout)
    elsewhere = {"AIRFLOW_HOME": str(tmp_path / "elsewhere")}
    done = mlsec("verify", source, "--public-key", tmp_path / "signer.pem", env=elsewhere)
    assert done.returncode == 0, done.stderr
    assert mlsec("verify", source, env=elsewhere).returncode == 3, "nobody is trusted there"
    with source.open("a") as file:
        file.write("x")
    done = mlsec("verify", source)
    assert done.returncode == 3
    assert "digest differs" in done.stderr


def test_keys(mlsec: Run) -> None:
    assert "Back up root.key" in mlsec("keys", "init").stdout
    mlsec("keys", "create", "pseudonym.person")
    mlsec("keys", "rotate", "pseudonym.person")
    done = mlsec("keys", "destroy", "pseudonym.person", "--version", "1")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    version = ("pseudonym.person", "--version", "1")
    done = mlsec("keys", "destroy", *version, "--yes")
    assert (done.returncode, "mlsec keys restore pseudonym.person --version 1" in done.stdout) == (
        0,
        True,
    )
    assert mlsec("keys", "destroy-due").stdout == "nothing is due\n"
    assert "disabled" in mlsec("keys", "restore", *version).stdout
    assert mlsec("keys", "restore", *version).returncode == 2
    assert mlsec("keys", "destroy", *version, "--yes", "--days", "0").returncode == 0
    assert "version 1: destroyed" in mlsec("keys", "destroy-due").stdout
    assert "disabled" in mlsec("keys", "disable", "pseudonym.person", "--version", "2").stdout
    listed = json.loads(mlsec("keys", "list", "--json").stdout)
    assert [(k["version"], k["state"]) for k in listed] == [(1, "destroyed"), (2, "disabled")]
    logged = json.loads(mlsec("keys", "log", "--json").stdout)
    assert [event["action"] for event in logged] == [
        "created", "created", "scheduled", "restored", "scheduled", "destroyed", "disabled",
    ]  # fmt: skip
    assert mlsec("keys", "export-recipient", "pseudonym.person").returncode == 2
    mlsec("keys", "create", "artifact", "--kind", "hybrid")
    assert mlsec("keys", "export-recipient", "artifact").stdout.startswith("age1pq1")
    assert mlsec("keys", "create", "pseudonym.person").returncode == 2
    assert mlsec("keys", "export", "pseudonym.person").returncode == 2


def test_a_ring_that_others_can_read_is_refused(mlsec: Run, tmp_path: Path) -> None:
    mlsec("keys", "init")
    (tmp_path / "airflow" / "mlsec" / "keys" / "root.key").chmod(0o644)
    done = mlsec("keys", "list")
    assert done.returncode == 3
    assert "chmod 600" in done.stderr


def test_db(mlsec: Run) -> None:
    assert mlsec("db", "check").returncode == 1
    assert "upgraded from empty" in mlsec("db", "upgrade").stdout
    assert "is up to date" in mlsec("db", "upgrade").stdout
    assert mlsec("db", "check").returncode == 0
    done = mlsec("db", "check", env={"AIRFLOW__MLSEC__REGISTER_URL": "mysql://u:geheim@h/d"})
    assert done.returncode == 2
    assert "geheim" not in done.stderr


def test_lineage(mlsec: Run, folder: Path) -> None:
    assert "none yet" in mlsec("lineage", "list").stdout
    out = dataset("/out", ["b"], columnLineage=lineage("/in", {"b": ["a"]}))
    line = json.dumps(event("job", [dataset("/in", ["a"])], [out]))
    (folder / "events.ndjson").write_text(line + "\n")
    assert "1 events kept" in mlsec("lineage", "ingest", folder / "events.ndjson").stdout
    assert mlsec("lineage", "ingest", folder).returncode == 0
    assert mlsec("lineage", "ingest", "-", stdin=line).returncode == 0
    done = mlsec("lineage", "ingest", "-", stdin="nonsense\n")
    assert done.returncode == 2
    assert "standard input:1: not JSON" in done.stdout
    assert "/out#b  via IDENTITY" in mlsec("lineage", "trace", "/in#a", "--down").stdout
    up = json.loads(mlsec("lineage", "trace", "/out", "--up", "--json").stdout)
    assert [node["dataset"] for node in up[0]["nodes"]] == ["/in"]
    assert mlsec("lineage", "trace", "/nothing").returncode == 2


def test_access_review(mlsec: Run, folder: Path) -> None:
    assert "superuser" in mlsec("access", "snapshot", folder).stdout
    review = json.loads(mlsec("access", "review", "open", folder, "--json").stdout)
    number = str(review["id"])
    assert mlsec("access", "review", "complete", number).returncode == 1
    done = mlsec(
        "access", "review", "decide", number, "keep", "--reason", "ok", "--reviewer", "Ada"
    )
    assert done.returncode == 0, done.stderr
    assert ": complete" in mlsec("access", "review", "complete", number).stdout
    assert "complete" in mlsec("access", "review", "list").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("nosuch",),
        ("policy", "nosuch"),
        ("anonymize",),
        ("encrypt", "--nosuch"),
        ("check", "none.yaml"),
    ],
)
def test_bad_usage_has_exit_code_2_and_no_traceback(mlsec: Run, arguments: tuple[str, ...]) -> None:
    done = mlsec(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_an_early_closed_pipe_is_no_error(tmp_path: Path) -> None:
    command = f"{Path(sys.executable).with_name('mlsec')} policy schema | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False,
                          env={**os.environ, "AIRFLOW_HOME": str(tmp_path)})  # fmt: skip
    assert "Traceback" not in done.stderr
