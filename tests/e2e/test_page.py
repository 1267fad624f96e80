"""The privacy page in a real Chromium, as a person opens it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import canaries
from tests.e2e.conftest import AIRFLOW, ROOT, Pipeline

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; on Debian: apt-get install chromium"),
]
has_chakra = pytest.mark.skipif(AIRFLOW < (3, 2), reason="Airflow 3.1 gives plugins no Chakra")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


def signed_in(browser: Any, pipeline: Pipeline, user: str) -> Any:
    """A page of a user who logged in through Airflow's own form."""
    import json

    passwords = pipeline.server.home / "simple_auth_manager_passwords.json.generated"
    page = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
    page.goto(f"{pipeline.server.url}/auth/login")
    page.fill("input[name=username]", user)
    page.fill("input[name=password]", json.loads(passwords.read_text())[user])
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "/auth/" not in url, timeout=60_000)
    return page


def shoot(page: Any, name: str) -> None:
    folder: Path = ROOT / "screenshots"
    folder.mkdir(exist_ok=True)
    page.screenshot(path=folder / f"{name}.png")


@has_chakra
def test_a_compliance_officer_reads_the_map(browser: Any, pipeline: Pipeline) -> None:
    page = signed_in(browser, pipeline, "admin")
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.get_by_role("button", name="Browse").or_(
        page.get_by_text("Browse", exact=True)
    ).first.click()
    page.get_by_text("Personal data", exact=True).first.click()
    table = page.get_by_role("table", name="Datasets")
    table.wait_for(timeout=60_000)
    assert table.get_by_role("row").count() == 7, "a header and six datasets"
    page.get_by_text("models/quit_smoking.skops", exact=True).first.wait_for()
    shoot(page, "map")
    page.get_by_label("Filter datasets").fill("phone_number")
    assert table.get_by_role("row").count() == 3, "the raw records and the persons table"
    page.get_by_label("Filter datasets").fill("safe")
    table.get_by_role("button", name="safe/nhefs.parquet").click()
    columns = page.get_by_role("table", name="Columns")
    row = columns.get_by_role("row").filter(has_text="user.contact.email")
    assert "pseudonymous" in row.inner_text()
    assert (
        "raw/nhefs.parquet#email: pseudonymize with key pseudonym.person version 1"
        in row.inner_text()
    )
    shoot(page, "columns")
    assert canaries.found_in(page.content()) == []
    assert errors == []


@has_chakra
def test_a_compliance_officer_reads_the_requests(browser: Any, pipeline: Pipeline) -> None:
    import json

    key = ("--kind", "person", "--key", canaries.EMAIL)
    opened = pipeline.mlsec("subject", "open", "access", *key, "--received", "2026-01-02", "--json")
    number = json.loads(opened.stdout)["id"]
    pipeline.mlsec("subject", "identity", str(number), "--evidence", "log-in, second factor")
    pipeline.mlsec("subject", "search", str(number))
    page = signed_in(browser, pipeline, "admin")
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{pipeline.server.url}/plugin/privacy-requests")
    table = page.get_by_role("table", name="Requests")
    table.wait_for(timeout=60_000)
    row = table.get_by_role("row").filter(has_text="2026-01-02")
    assert "access (GDPR, person)" in row.inner_text()
    assert "overdue" in row.inner_text()
    assert "2026-02-02" in row.inner_text(), "the last day, as the request's history says"
    row.get_by_role("button").click()
    ledger = page.get_by_role("table", name="Coverage ledger")
    ledger.wait_for(timeout=60_000)
    assert "pseudonym in column 'email'" in ledger.inner_text()
    assert "identity verified: log-in, second factor" in page.get_by_label("History").inner_text()
    shoot(page, "requests")
    assert canaries.found_in(page.content()) == []
    assert errors == []


@has_chakra
def test_a_link_from_a_task_opens_its_dataset(browser: Any, pipeline: Pipeline) -> None:
    from demo.__main__ import DAG_ID

    with pipeline.server.client() as client:
        path = f"/api/v2/dags/{DAG_ID}/dagRuns/{pipeline.run_id}/taskInstances/anonymize/links"
        [link] = client.get(path).raise_for_status().json()["extra_links"].values()
    page = signed_in(browser, pipeline, "admin")
    page.goto(link)
    page.get_by_role("table", name="Columns").wait_for(timeout=60_000)
    assert page.get_by_role("heading", name="safe/nhefs.parquet").is_visible()


@has_chakra
def test_a_link_to_a_folder_shows_what_is_in_it_and_to_nothing_says_so(
    browser: Any, pipeline: Pipeline
) -> None:
    page = signed_in(browser, pipeline, "admin")
    page.goto(f"{pipeline.server.url}/plugin/privacy?dataset={pipeline.folder}")
    page.get_by_text("6 datasets are called").wait_for(timeout=60_000)
    shoot(page, "folder")
    page.get_by_role("button", name="Show all datasets").click()
    assert page.get_by_role("table", name="Datasets").get_by_role("row").count() == 7
    assert page.get_by_text("6 datasets are called").count() == 0
    page.goto(f"{pipeline.server.url}/plugin/privacy?dataset=no/such.parquet")
    page.get_by_text("The register knows no dataset called no/such.parquet").wait_for()
    shoot(page, "no-dataset")


@pytest.mark.parametrize(
    ("route", "title"), [("privacy", "Datasets"), ("privacy-requests", "Requests")]
)
@has_chakra
def test_a_viewer_is_told_which_role_it_takes_and_sees_no_data(
    browser: Any, pipeline: Pipeline, route: str, title: str
) -> None:
    page = signed_in(browser, pipeline, "viewer")
    page.goto(f"{pipeline.server.url}/plugin/{route}")
    page.get_by_text("no role lets you see this page").wait_for(timeout=60_000)
    assert page.get_by_text("[mlsec] role_mapping").is_visible()
    assert page.get_by_role("table", name=title).count() == 0
    assert canaries.found_in(page.content()) == []
    page.set_viewport_size({"width": 390, "height": 800})
    shoot(page, f"refused-{route}")


@pytest.mark.parametrize(
    ("route", "title", "command"),
    [
        ("privacy", "Personal data", "mlsec lineage list"),
        ("privacy-requests", "Data-subject requests", "mlsec subject list"),
    ],
)
def test_an_airflow_without_chakra_names_the_commands(
    browser: Any, pipeline: Pipeline, route: str, title: str, command: str
) -> None:
    """As Airflow 3.1 is; the others are made so here."""
    page = signed_in(browser, pipeline, "admin")
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.add_init_script("Object.defineProperty(globalThis, 'ChakraUI', {value: undefined})")
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{pipeline.server.url}/plugin/{route}")
    page.get_by_role("heading", name=title).wait_for(timeout=60_000)
    assert page.get_by_text("This page needs Airflow 3.2 or later").is_visible()
    assert page.get_by_role("listitem").filter(has_text=command).is_visible()
    shoot(page, f"plain-{route}")
    assert errors == []
    done = pipeline.mlsec(*command.split()[1:])
    assert done.returncode == 0, done.stderr
