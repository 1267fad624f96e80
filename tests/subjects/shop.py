"""A small shop, for real: customers and orders in SQLite, a release, copies in every format, a
model, and the lineage between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from airflow_mlsec.anonymize import RegisterVault, Release, anonymize
from airflow_mlsec.controls import record_results
from airflow_mlsec.crypto import KeyRing
from airflow_mlsec.datasets import Dataset, open_dataset
from airflow_mlsec.lineage import ingest_event, record_release
from airflow_mlsec.policy import Policy, parse_policy
from airflow_mlsec.register import Register
from airflow_mlsec.subjects import Handler
from tests import canaries
from tests.actors import who
from tests.lineage.events import dataset, event

CUSTOMERS = """\
version: 1
dataset: {customers}
owner: shop
controller: Example Shop GmbH
purposes: [orders]
lawful_basis: {{basis: contract, source: GDPR Art. 6(1)(b)}}
subject: {{kind: customer, key: email}}
membership: keep
columns:
  id: {{role: insensitive}}
  email: {{role: identifying, category: user.contact.email, transform: {{method: pseudonymize, domain: customer}}}}
  name: {{role: identifying, category: user.name, transform: {{method: drop}}}}
  age: {{role: insensitive}}
"""
ORDERS = """\
version: 1
dataset: {orders}
owner: shop
subject: {{kind: customer, key: customer_id, references: {{dataset: "{customers}", column: id}}}}
columns:
  number: {{role: insensitive}}
  customer_id: {{role: identifying, transform: {{method: drop}}}}
  note: {{role: sensitive, free_text: true}}
"""


class Shop:
    """``people`` are (id, email, name, age); the canaries' is number 7."""

    def __init__(self, folder: Path, register: Register, keys: KeyRing) -> None:
        self.folder, self.register, self.keys = folder, register, keys
        folder.mkdir(parents=True, exist_ok=True)
        self.people = [
            (i, f"p{i}@shop.example", f"Person Number{i}", 20 + i % 9) for i in range(40)
        ]
        self.people[7] = (7, canaries.EMAIL, canaries.NAME, 47)
        self.customers = f"sqlite://{folder}/shop.db/customers"
        self.orders = f"sqlite://{folder}/shop.db/orders"
        self._make_tables()
        self.policies = {
            "customers": parse_policy(CUSTOMERS.format(customers=self.customers), "customers"),
            "orders": parse_policy(ORDERS.format(customers=self.customers, orders=self.orders), "orders"),
        }  # fmt: skip
        for name, uri in (("customers", self.customers), ("orders", self.orders)):
            record_results(register, self.policies[name], open_dataset(uri), "source", [], None)
        self.release()
        self._copies()

    def handler(self, **more: Any) -> Handler:
        return Handler(self.register, self.keys, who("dpo"), roots=(str(self.folder),), **more)

    def at(self, name: str) -> Dataset:
        return open_dataset(str(self.folder / name))

    def rows(self, uri: str) -> list[dict[str, Any]]:
        return [row for batch in open_dataset(uri).scan() for row in batch.to_pylist()]

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        """All rows of all tables, by place."""
        files = ("safe.parquet", "copy.parquet", "extract.csv", "events.jsonl", "joined.parquet")
        found = {name: self.rows(str(self.folder / name)) for name in files}
        return {"customers": self.rows(self.customers), "orders": self.rows(self.orders), **found}

    def _make_tables(self) -> None:
        import sqlite3

        connection = sqlite3.connect(self.folder / "shop.db")
        connection.executescript(
            "CREATE TABLE customers (id INTEGER PRIMARY KEY, email TEXT, name TEXT, age INTEGER);"
            "CREATE TABLE orders (number INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL "
            "REFERENCES customers(id), note TEXT);"
        )
        connection.executemany("INSERT INTO customers VALUES (?,?,?,?)", self.people)
        orders = [(100 + i, i % 40, f"deliver to door {i}") for i in range(120)]
        connection.executemany("INSERT INTO orders VALUES (?,?,?)", orders)
        connection.commit()
        connection.close()

    def release(self, source: Dataset | None = None, members: str = "members.age") -> Release:
        policy: Policy = self.policies["customers"]
        done = anonymize(policy, source or open_dataset(self.customers), self.at("safe.parquet"), self.keys,
                         membership_path=self.folder / members,
                         vault=RegisterVault(self.register, self.keys, None))  # fmt: skip
        record_release(self.register, self.keys, policy, open_dataset(self.customers),
                       self.at("safe.parquet"), done.result("release"))  # fmt: skip
        return done

    def put(self, name: str, table: pa.Table) -> None:
        with self.at(name).replacing(table.schema) as staged:
            for batch in table.to_batches(max_chunksize=9):
                staged.write(batch)

    def _copies(self) -> None:
        people = pa.table({"mail": [p[1] for p in self.people], "age": [p[3] for p in self.people]})
        self.put("copy.parquet", people)
        self.put("extract.csv", people)
        orders = self.rows(self.orders)
        self.put("events.jsonl", pa.table({"who": [o["customer_id"] for o in orders], "what": [o["note"] for o in orders]}))  # fmt: skip
        safe = self.rows(str(self.folder / "safe.parquet"))
        self.put("joined.parquet", pa.table({"token": [r["email"] for r in safe], "age": [r["age"] for r in safe]}))  # fmt: skip
        (self.folder / "model.onnx").write_bytes(b"a model")
        name = str(self.folder / "shop.db")
        self.copied(f"{name}/customers", "copy.parquet", {"mail": "email"}, "sqlite")
        self.copied(str(self.folder / "copy.parquet"), "extract.csv", {"mail": "mail"})
        self.copied(f"{name}/orders", "events.jsonl", {"who": "customer_id"}, "sqlite")
        self.copied(str(self.folder / "safe.parquet"), "joined.parquet", {"token": "email"})
        safe_name, model = str(self.folder / "safe.parquet"), str(self.folder / "model.onnx")
        self.emit(event("train", [dataset(safe_name)], [dataset(model)]))

    def copied(
        self, source: str, target: str, columns: dict[str, str], namespace: str = "file"
    ) -> None:
        fields = {
            name: {"inputFields": [{"namespace": namespace, "name": source, "field": field,
                                    "transformations": [{"type": "DIRECT", "subtype": "IDENTITY"}]}]}
            for name, field in columns.items()
        }  # fmt: skip
        out = dataset(str(self.folder / target), list(columns), columnLineage={"fields": fields})
        self.emit(event(f"copy {target}", [dataset(source, namespace=namespace)], [out]))

    def emit(self, item: dict[str, Any]) -> None:
        ingest_event(item, self.register, self.keys.verification_keys())
