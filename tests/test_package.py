"""The package as a whole: what importing it costs, what its modules say they hold."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_mlsec

PACKAGES = [
    "access",
    "anonymize",
    "artifacts",
    "codes",
    "controls",
    "crypto",
    "datasets",
    "discovery",
    "documents",
    "governance",
    "hierarchies",
    "key_ring",
    "ledger",
    "lineage",
    "merkle_log",
    "policy",
    "postgresql",
    "register",
    "secret_scan",
    "subjects",
    "testing",
    "transport",
    "values",
    "verify",
]


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    loaded = modules_after("import airflow_mlsec")
    assert not loaded & {"airflow", "pandas", "pyarrow", "sqlalchemy", "pydantic", "numpy"}


def test_provider_info_imports_no_airflow() -> None:
    loaded = modules_after("from airflow_mlsec.provider import get_provider_info as g; g()")
    assert not loaded & {"airflow", "pandas", "pyarrow", "sqlalchemy"}


# What has no need of Airflow: the command line, and all that it stands on.
WITHOUT_AIRFLOW = [
    *(f"airflow_mlsec.{name}" for name in PACKAGES),
    "airflow_mlsec.cli._anonymize",
    "airflow_mlsec.cli._subject",
    "airflow_mlsec.cli._access",
    "airflow_mlsec.cli._check",
    "airflow_mlsec.cli._document",
    "airflow_mlsec.cli._lineage",
    "airflow_mlsec.lineage.transport",
    "airflow_mlsec.notifications._alert",
]


def test_domain_and_command_line_never_import_airflow() -> None:
    """In one process: whichever brings Airflow in is the first after which it is there."""
    bring = f"""import importlib, sys
for name in {WITHOUT_AIRFLOW}:
    importlib.import_module(name)
    assert 'airflow' not in sys.modules, name + ' imports Airflow'"""
    done = subprocess.run(
        [sys.executable, "-c", bring], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]


HEAVY = {
    "pandas",
    "pyarrow",
    "numpy",
    "duckdb",
    "polars",
    "great_expectations",
    "pyspark",
    "sqlglot",
    "fsspec",
}


def test_a_dag_that_uses_us_imports_nothing_heavy() -> None:
    """Every DAG file is parsed again and again, by a process that does none of the work."""
    adapters = [
        f"airflow_mlsec.{room}.{info.name}"
        for room in ("hooks", "operators", "sensors", "triggers", "notifications", "decorators")
        for info in pkgutil.iter_modules([f"{airflow_mlsec.__path__[0]}/{room}"])
        if not info.name.startswith("_") and info.name != "sql_jobs"
    ]
    assert len(adapters) > 12
    examples = sorted(Path("example_dags").glob("*.py"))
    code = f"""import importlib, runpy, sys
import airflow.models, airflow.sdk
from airflow.sdk import DAG, BaseHook, BaseNotifier, BaseOperator, BaseSensorOperator, task
from airflow.triggers.base import BaseTrigger
import airflow.providers.standard.operators.hitl
before = set(sys.modules)
for name in {adapters}:
    importlib.import_module(name)
sys.path.insert(0, 'example_dags')
ours = {{name for name in sys.modules if name.startswith('airflow_mlsec')}}
for path in {[str(path) for path in examples]}:
    runpy.run_path(path)
heavy = {HEAVY} & {{name.partition('.')[0] for name in set(sys.modules) - before}}
assert not heavy, heavy
domain = ours & {{f'airflow_mlsec.{{room}}' for room in {[*PACKAGES]}}}
assert not domain, domain"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1500:]


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_names_what_it_offers(name: str) -> None:
    module = importlib.import_module(f"airflow_mlsec.{name}")
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, offered) for offered in module.__all__)
    assert module.__doc__


def test_every_large_room_has_contracts_inside() -> None:
    """Of more than 5,000 lines nobody knows who may import whom, unless it is written down."""
    contracts = (Path(__file__).parents[1] / "setup.cfg").read_text()
    containers = set(
        re.findall(r"^containers =\n    airflow_mlsec\.(\w+)$", contracts, re.MULTILINE)
    )
    folder = Path(str(airflow_mlsec.__file__)).parent
    large = {
        room.name
        for room in folder.iterdir()
        if room.is_dir()
        and sum(path.read_text().count("\n") for path in room.rglob("*.py")) > 5_000
    }
    assert {"anonymize", "lineage", "subjects"} <= large
    assert large <= containers


# Schemes of URIs and namespaces, as code that branches on kinds of dataset would name them.
_OF_A_KIND = re.compile(
    r"""["'](?:file|sqlite|postgres|postgresql|s3|s3a|gs|duckdb)(?:://)?["']|(?:File|Sql)Dataset"""
)


def test_nobody_asks_of_what_kind_a_dataset_is_but_its_connector() -> None:
    """A new kind is one folder: outside `datasets` no room that handles data names one."""
    folder = Path(str(airflow_mlsec.__file__)).parent
    rooms = (
        "subjects",
        "anonymize",
        "access",
        "artifacts",
        "controls",
        "discovery",
        "operators",
        "sensors",
        "triggers",
    )
    named = [
        f"{path.relative_to(folder)}:{number}: {line.strip()}"
        for room in (*rooms, "lineage/evidence", "lineage/tracing", "lineage/writing")
        for path in (folder / room).rglob("*.py")
        # A collector is of one kind of system, as a connector is.
        if path.relative_to(folder).parts[:2] != ("access", "collectors")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if _OF_A_KIND.search(line)
    ]
    # A hierarchy can be a file, and the register has a dialect; neither is a kind of dataset.
    other = ("hierarchy", "dialect")
    assert [line for line in named if not any(word in line for word in other)] == []


# What people read, wherever it stands; and what would look into it.
_PROSE = {"detail", "evidence", "what", "verified", "words"}
_LOOKING = {"startswith", "endswith", "partition", "rpartition", "split", "rsplit", "find", "index", "removeprefix",
            "removesuffix", "match", "search", "fullmatch"}  # fmt: skip
# A receipt of version 1 has sentences alone; they decide what of it is printed, and nothing else.
_OF_RECEIPTS = {"subjects/requests/_receipt.py"}


def _looks_into_prose(node: ast.AST) -> bool:
    """Whether code asks what stands in a sentence: ``x.detail.startswith(…)``, ``"…" in x.detail``, ``re.match(…, x.detail)``."""

    def is_prose(inner: ast.AST) -> bool:
        return any(isinstance(n, ast.Attribute) and n.attr in _PROSE for n in ast.walk(inner))

    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        looks = node.func.attr in _LOOKING
        return looks and any(is_prose(part) for part in (node.func.value, *node.args))
    if isinstance(node, ast.Compare):
        texts = [
            isinstance(x, ast.Constant) and isinstance(x.value, str)
            for x in (node.left, *node.comparators)
        ]
        looks = any(isinstance(op, ast.In | ast.NotIn | ast.Eq | ast.NotEq) for op in node.ops)
        return looks and any(texts) and any(is_prose(x) for x in (node.left, *node.comparators))
    return False


def test_nothing_branches_on_a_sentence() -> None:
    """What something depends on is an enumerated word, or a reason with a type; sentences are for people."""
    folder = Path(str(airflow_mlsec.__file__)).parent
    found = [
        f"{path.relative_to(folder)}:{node.lineno}"
        for path in folder.rglob("*.py")
        if "migrations" not in path.parts and str(path.relative_to(folder)) not in _OF_RECEIPTS
        for node in ast.walk(ast.parse(path.read_text()))
        if _looks_into_prose(node)
    ]
    assert found == []
    seen = 'x.detail.startswith("a"); "a" in step.detail; step.detail == "a"; re.match("a", str(s.detail))'
    assert sum(map(_looks_into_prose, ast.walk(ast.parse(seen)))) == 4


# A part of a sentence: words in a row, or one with blanks around it.
_SENTENCE = re.compile(r"[a-z]{2,} [a-z]{2,} [a-z]{2,}|^ [a-z]+ | [a-z]+ $")
# What others say in English, and nothing else says: SQLite has no code for it.
_OF_OTHERS = {"foreign key mismatch"}


def test_nothing_looks_for_parts_of_sentences() -> None:
    """Wherever a text comes from: no code asks whether it has words in a row, begins or ends with them."""
    folder = Path(str(airflow_mlsec.__file__)).parent

    def parts(node: ast.AST) -> list[str]:
        if isinstance(node, ast.Compare):
            # A text that is compared as a whole is a name: of a state, of a kind.
            within = all(isinstance(op, ast.In | ast.NotIn) for op in node.ops)
            asked: list[ast.expr] = [node.left] if within else []
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            asked = node.args if node.func.attr in _LOOKING else []
        else:
            return []
        whole = [x for x in asked if isinstance(x, ast.Constant | ast.JoinedStr)]
        constants = [x for each in whole for x in ast.walk(each) if isinstance(x, ast.Constant)]
        return [str(x.value) for x in constants if isinstance(x.value, str)]

    found = [
        f"{path.relative_to(folder)}:{node.lineno}: {text!r}"
        for path in folder.rglob("*.py")
        if "migrations" not in path.parts and str(path.relative_to(folder)) not in _OF_RECEIPTS
        for node in ast.walk(ast.parse(path.read_text()))
        for text in parts(node)
        if _SENTENCE.search(text) and text not in _OF_OTHERS
    ]
    assert found == []
    asked = 'e.startswith("its name is that of"); " values are " in e; kind == "date of birth"'
    assert (
        sum(bool(parts(n) and _SENTENCE.search(parts(n)[0])) for n in ast.walk(ast.parse(asked)))
        == 2
    )


def test_what_is_within_a_room_is_its_own() -> None:
    """Rooms take of each other what they offer: no module whose name begins with an underscore, and of `datasets`
    nothing that lies within."""
    folder = Path(str(airflow_mlsec.__file__)).parent
    taken = re.compile(r"^\s*(?:from|import) airflow_mlsec\.(\w+)\.(\S+)", re.MULTILINE)
    found = [
        f"{path.relative_to(folder)}: {room}.{inner}"
        for path in folder.rglob("*.py")
        for room, inner in taken.findall(path.read_text())
        if path.relative_to(folder).parts[0].removesuffix(".py") != room
        and (room == "datasets" or re.search(r"(?:^|\.)_", inner))
    ]
    assert found == []


def test_public_names_resolve_late() -> None:
    for name in airflow_mlsec.__all__:
        assert getattr(airflow_mlsec, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = airflow_mlsec.Nothing


def test_every_module_says_what_it_is_for() -> None:
    silent = []
    for info in pkgutil.walk_packages(airflow_mlsec.__path__, "airflow_mlsec."):
        if ".migrations." in info.name or info.name.startswith("airflow_mlsec.cli._"):
            continue
        module = importlib.import_module(info.name)
        # A control is one class in a module of its own: what the class says is enough.
        kinds = [
            v for v in vars(module).values() if isinstance(v, type) and v.__module__ == info.name
        ]
        said = all(kind.__doc__ for kind in kinds) and bool(kinds) and ".controls." in info.name
        if not module.__doc__ and not said:
            silent.append(info.name)
    assert silent == []
