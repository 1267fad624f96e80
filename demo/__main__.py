"""Run the example DAG in a real Airflow, do what a reviewer does, and report what happened."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from airflow_mlsec.testing import AirflowServer

ROOT = Path(__file__).resolve().parent.parent
DAG_ID = "train_quit_smoking_model"
DOWNSTREAM = "call_high_risk_smokers"
REQUEST = "data_subject_request"
# Same as in `airflow_mlsec.operators.subjects`; importing that would load Airflow here.
APPROVE_ALL = "Approve, with places that only lineage names"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / ".demo")
    parser.add_argument("--keep-running", action="store_true", help="leave Airflow up for a look")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    prepare(folder)
    server = make_server(folder)
    say(f"starting Airflow (log: {server.log_file})")
    with server.running(say):
        run_id = server.trigger(DAG_ID)
        say(f"triggered {DAG_ID} through the REST API")
        ready = server.wait(
            DAG_ID, run_id, lambda s: s["review_access"] == "deferred", progress=say
        )
        if ready[""] != "failed":
            review_as_a_person_would(server, folder)
            server.wait(DAG_ID, run_id, lambda s: False, progress=say, seen=ready)
        states = server.states(DAG_ID, run_id)
        if states[""] != "success":
            say(f"the run ended as {states['']}: {states}")
            return 1
        summary(server, folder, run_id)
        if not (run_downstream(server) and answer_a_request(server, folder)):
            return 1
        if options.keep_running:
            keep_running(server)
    return 0


def prepare(folder: Path) -> None:
    """A fresh folder with the policies, pointing to where this demonstration keeps its data."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("policies", "raw", "safe", "models", "release", "requests", "reports", "airflow"):
        (folder / name).mkdir(parents=True)
    (folder / "release").chmod(0o750)
    for source in (ROOT / "example_dags" / "policies").glob("*.yaml"):
        text = source.read_text().replace("/srv/mlsec-demo", str(folder))
        (folder / "policies" / source.name).write_text(text)


def make_server(
    folder: Path, environment: dict[str, str] | None = None, dags: Path = ROOT / "example_dags"
) -> AirflowServer:
    """An Airflow that has the example DAGs and looks for data and policies in ``folder``."""
    return AirflowServer(
        folder / "airflow",
        dags,
        {
            "MLSEC_DEMO_FOLDER": str(folder),
            "AIRFLOW__MLSEC__POLICIES_FOLDER": str(folder / "policies"),
            "AIRFLOW__MLSEC__DATA_ROOTS": str(folder),
            **(environment or {}),
        },
    )


def review_as_a_person_would(server: AirflowServer, folder: Path) -> None:
    """Decide on the open access review, with the commands that a reviewer types."""
    location = str(folder / "release")
    say("the DAG waits for a person: who may read the release folder?")
    found = mlsec(server, "access", "review", "list", "--location", location, "--json")
    review = json.loads(found)[0]
    for item in review["items"]:
        grant = item["grant"]
        say(f"  {grant['principal']}: {grant['permission']} ({grant['origin']})")
    number = str(review["id"])
    reason = "needs the model for its work"
    mlsec(server, "access", "review", "decide", number, "keep", "--reason", reason)
    mlsec(server, "access", "review", "complete", number)
    say(f"review {number} decided and completed with `mlsec access review`")


def summary(server: AirflowServer, folder: Path, run_id: str) -> None:
    """What happened to the personal data, in plain words and numbers."""
    released = server.xcom(DAG_ID, run_id, "anonymize")
    raw_checks = server.xcom(DAG_ID, run_id, "check_raw")
    safe_checks = server.xcom(DAG_ID, run_id, "check_safe")
    scores = server.xcom(DAG_ID, run_id, "train")
    artifact = server.xcom(DAG_ID, run_id, "encrypt")
    person = some_person(folder)
    located = locate(server, person)
    traced = mlsec(server, "lineage", "trace", f"{folder}/raw/nhefs.parquet#email", "--down")
    # What does not hold in a demonstration, such as that nobody has signed a checkpoint, is part of it.
    asked = mlsec(server, "controls", "run", ok=(0, 1))
    model = str(folder / "release" / "quit_smoking.skops.age")
    verified = mlsec(server, "verify", model)
    print(f"""
What happened to the personal data
  {released["rows"]} persons' records were read. 4 columns that name a person: e-mail became a keyed
  pseudonym; name, phone and street were dropped. {raw_checks["passed"]} of {raw_checks["controls"]} controls passed on the raw records.
  {released["released"]} records were released, {released["suppressed"]} suppressed: everyone shares their postcode, birth
  date, sex, race and schooling with at least {released["k_anonymity"] - 1} others (k-anonymity {released["k_anonymity"]}).
  {safe_checks["passed"]} of {safe_checks["controls"]} controls passed on the released records.
  The model saw the released records only: AUC {scores["auc_anonymized"]:.3f}, beside {scores["auc_raw"]:.3f} on raw records.
  The model is encrypted for {artifact["recipients"]} recipient and signed ({artifact["bytes"]} bytes).
  {verified.strip()}

Where one person's data is: mlsec subject locate --kind person --key -
{indent(located)}

Where the e-mail column went: mlsec lineage trace {folder}/raw/nhefs.parquet#email --down
{indent(traced)}

What does not hold, of everything that controls ask: mlsec controls run
{indent(asked)}

Try next
  export AIRFLOW_HOME={server.home}
  echo {person} | {Path(sys.prefix).name}/bin/mlsec subject locate --kind person --key -
  {Path(sys.prefix).name}/bin/mlsec lineage trace safe/nhefs.parquet --up
  {Path(sys.prefix).name}/bin/mlsec decrypt {model} model.skops --key artifact
  {Path(sys.prefix).name}/bin/mlsec keys list
  make demo-ui    the same, then open the personal-data map in Airflow""")


def run_downstream(server: AirflowServer) -> bool:
    """The DAG that joins and extracts what the first one loaded."""
    run_id = server.trigger(DOWNSTREAM)
    say(f"triggered {DOWNSTREAM}: a SQL join and a CSV extract downstream")
    states = server.wait(DOWNSTREAM, run_id, lambda s: False, progress=say)
    if states[""] != "success":
        say(f"the run ended as {states['']}: {states}")
    return states[""] == "success"


def answer_a_request(server: AirflowServer, folder: Path) -> bool:
    """One person asks for their data and for erasure: find, export, erase, look again, sign."""
    person, recipient = some_person(folder), new_recipient(folder)
    opened = mlsec(
        server,
        "subject",
        "open",
        "erasure",
        "--kind",
        "person",
        "--key",
        "-",
        "--json",
        stdin=person,
    )
    number = str(json.loads(opened)["id"])
    verified = ("--evidence", "log-in with second factor", "--recipient", recipient)
    mlsec(server, "subject", "identity", number, *verified)
    run_id = server.trigger(REQUEST, conf={"request": int(number)})
    say(f"triggered {REQUEST} for request {number}; Airflow does not know who it is about")
    waiting = ("deferred", "awaiting_input")
    seen = server.wait(REQUEST, run_id, lambda s: s["approve"] in waiting, progress=say)
    if seen["approve"] in waiting:
        located = mlsec(server, "subject", "status", number)
        say(
            "the DAG waits for approval by another person than the opener: may this person be erased?"
        )
        server.approve(REQUEST, run_id, "approve", APPROVE_ALL)
        seen = server.wait(
            REQUEST, run_id, lambda s: s["settled"] in waiting, progress=say, seen=seen
        )
    if seen["settled"] in waiting:
        status = when_rebuilt(server, number)
        for step in status["steps"]:
            if step["status"] in ("found", "unknown"):
                told = step["kind"] == "recipient"
                outcome, reason = (
                    ("manual", "told by telephone")
                    if told
                    else ("retained", "stays published until it is trained anew on Monday")
                )
                decided = ("--reason", reason)
                mlsec(server, "subject", "settle", number, step["name"], outcome, *decided)
                say(f"a person settles {Path(step['name']).name} as {outcome}: {reason}")
        seen = server.wait(REQUEST, run_id, lambda s: False, progress=say, seen=seen)
    if seen[""] != "success":
        say(f"the run ended as {seen['']}: {seen}")
        return False
    receipt = folder / "requests" / f"{number}.receipt.json"
    salt = receipt.with_name(f"{receipt.name}.salt").read_text().strip()
    signer = folder / "requests" / "signer.pem"
    signer.write_text(mlsec(server, "keys", "export", "signing"))
    proof = ("--public-key", str(signer), "--key", "-", "--salt", salt)
    said = mlsec(server, "subject", "verify", str(receipt), *proof, stdin=person)
    left = locate(server, person)
    changed = what_changed(json.loads(mlsec(server, "subject", "status", number, "--json")))
    print(f"""
One person's request, {number}
{indent(chr(10).join(line for line in located.splitlines() if line.startswith("  found")))}

The receipt, on any machine with the public key: mlsec subject verify {receipt.name} --public-key signer.pem
{indent(said)}

What changed
{indent(changed)}

Where their data is now
{indent(left)}""")
    return True


def what_changed(request: dict[str, Any]) -> str:
    """Who approved, what was looked through, what is gone and what remains where, in plain words."""
    by: dict[str, list[dict[str, Any]]] = {}
    for step in request["steps"]:
        by.setdefault(step["status"], []).append(step)

    def names(*states: str) -> str:
        found = [Path(s["name"]).name for state in states for s in by.get(state, ())]
        return ", ".join(found) or "nothing"

    looked = [
        f"{s['name']}: {s['detail']}"
        for s in by.get("none by scan", ())
        if s["kind"] in ("scan", "airflow")
    ]
    remains = [
        f"{Path(s['name']).name}: {s['detail']}"
        for state in ("retained", "manual", "beyond reach")
        for s in by.get(state, ())
    ]
    eyes = (
        "not one of those who opened or verified it"
        if request["four_eyes"]
        else "who also opened or verified it"
    )
    return "\n".join(
        [
            f"Approved by {request['approved_by']}, {eyes}.",
            f"Erased: {names('erased')}. Made anew without them: {names('rebuilt')}.",
            "Looked through where no key leads, and nothing of theirs was found:",
            *(f"  {line}" for line in looked),
            "What remains, and why:",
            *(f"  {line}" for line in remains),
        ]
    )


def when_rebuilt(server: AirflowServer, number: str, patience: float = 120) -> dict[str, Any]:
    """The request's state, after the DAG that makes the report has run again automatically."""
    deadline = time.monotonic() + patience
    while True:
        status: dict[str, Any] = json.loads(mlsec(server, "subject", "status", number, "--json"))
        rebuilt = [s["name"] for s in status["steps"] if s["status"] == "rebuilt"]
        if rebuilt:
            say(f"made anew without them by its own DAG: {Path(rebuilt[0]).name}")
        if rebuilt or time.monotonic() > deadline:
            return status
        time.sleep(2)


def new_recipient(folder: Path) -> str:
    """The person's own age key, which they would make themselves."""
    from airflow_mlsec.crypto import Identity

    identity = Identity.generate()
    path = folder / "requests" / "person-age-key.txt"
    path.touch(mode=0o600)
    path.write_text(f"{identity.export()}\n")
    return str(identity.recipient)


def some_person(folder: Path) -> str:
    """Somebody who is in the raw records: the first one whose record was released."""
    from airflow_mlsec.datasets import open_dataset

    batch = next(open_dataset(str(folder / "raw" / "nhefs.parquet")).scan(["email"]))
    return str(batch.column(0)[1].as_py())


def keep_running(server: AirflowServer) -> None:
    passwords = server.home / "simple_auth_manager_passwords.json.generated"
    password = json.loads(passwords.read_text())["admin"]
    print(f"\nAirflow: {server.url}  (user admin, password {password})")
    print(f"Personal-data map: {server.url}/plugin/privacy\nCtrl-C ends it.", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        say("stopping Airflow")


def locate(server: AirflowServer, person: str) -> str:
    """Where a person's data is. The key is passed on standard input, where nobody else sees it."""
    command = ("subject", "locate", "--kind", "person", "--key", "-")
    return mlsec(server, *command, ok=(0, 1), stdin=person)


def mlsec(
    server: AirflowServer, *arguments: str, ok: tuple[int, ...] = (0,), stdin: str | None = None
) -> str:
    """Run the command line as a user of this Airflow would; returns its output."""
    command = [str(Path(sys.executable).with_name("mlsec")), *arguments]
    done = subprocess.run(
        command,
        env=server.environment,
        input=None if stdin is None else f"{stdin}\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in ok:
        raise SystemExit(f"{' '.join(command)} failed ({done.returncode}): {done.stderr}")
    return done.stdout


def indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.rstrip().splitlines())


_started = time.monotonic()


def say(message: str) -> None:
    print(f"[{time.monotonic() - _started:5.0f} s] {message}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
