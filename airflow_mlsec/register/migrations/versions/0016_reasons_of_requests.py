"""One ledger: acts take the place of the notes of requests, and codes that of sentences about their places."""

import re
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_AT_ONCE = 1_000
# By the word that something depended on: the code that takes its place, how its sentence is read, and where the
# sentence goes if it is none of those that earlier versions wrote.
_READ: dict[str, tuple[str, str, str]] = {
    "legal hold": ("kept-by-hold", r"legal hold (?P<number>\d+): (?P<reason>.*)", "reason"),
    "duty to keep": ("kept-by-law", r"kept by law: (?P<duty>.*)", "duty"),
    "not removed": (
        "nothing-removed",
        r"(?P<rows>\d+) rows were found, and none of them could be removed",
        "",
    ),
    "waits": (
        "waits-for",
        r"waits for (?P<place>.*), whose rows can only be found through this place",
        "place",
    ),
    "not rectified": (
        "could-not-rectify",
        r"could not be rectified: (?P<error>.*)",
        "error",
    ),
    "to be made anew": (
        "to-be-made-anew",
        r"made from column '(?P<column>.*)': to be made anew by its own DAG",
        "column",
    ),
    "still named": (
        "still-named",
        r"(?P<rows>\d+) rows still name the person \((?P<how>.*)\)",
        "how",
    ),
}
_MENTIONS = "rows that mention the person are kept by the policy: "


def upgrade() -> None:
    connection = op.get_bind()
    _carry_notes(connection)
    op.drop_table("mlsec_request_entry")
    with op.batch_alter_table("mlsec_request_step") as table:
        table.add_column(sa.Column("found_by", sa.JSON))
        table.add_column(sa.Column("reasons", sa.JSON))
    _carry_sentences(connection)
    with op.batch_alter_table("mlsec_request_step") as table:
        for name in ("found_by", "reasons"):
            table.alter_column(name, existing_type=sa.JSON, nullable=False)
        table.drop_column("locator")
        table.drop_column("detail")
        table.drop_column("because")


def _carry_notes(connection: sa.Connection) -> None:
    names = ("asset_kind", "asset", "verb", "by", "at", "request_id")
    json = ("reasons", "evidence")
    columns = [*map(sa.column, names), *(sa.column(name, sa.JSON) for name in json)]
    act = sa.table("mlsec_act", *columns)
    before = sa.table(
        "mlsec_request_entry",
        *(sa.column(name) for name in ("id", "request_id", "at", "by", "what")),
        sa.column("acted", sa.Boolean),
    )
    for rows in _in_parts(connection, before):
        values = [
            {
                "asset_kind": "request",
                "asset": str(row.request_id),
                "verb": "imported",
                "reasons": [_imported(row.what)],
                "evidence": {"says_who": True} if row.acted else {},
                "by": row.by,
                "at": row.at,
                "request_id": row.request_id,
            }
            for row in rows
        ]
        connection.execute(sa.insert(act), values)


def _carry_sentences(connection: sa.Connection) -> None:
    names = ("id", "kind", "locator", "detail", "because")
    json = (sa.column(name, sa.JSON) for name in ("found_by", "reasons"))
    step = sa.table("mlsec_request_step", *map(sa.column, names), *json)
    update = sa.update(step).where(step.c.id == sa.bindparam("of"))
    given = {name: sa.bindparam(f"{name}_now", type_=sa.JSON) for name in ("found_by", "reasons")}
    for rows in _in_parts(connection, step):
        values = [
            {
                "of": row.id,
                "found_by_now": _found_by(row.kind, row.locator),
                "reasons_now": _codes_of(row.detail, row.because),
            }
            for row in rows
        ]
        connection.execute(update.values(**given), values)


def _found_by(kind: str, locator: str) -> list[dict[str, Any]]:
    if kind == "recipient":
        none = locator == "no contact in the policy"
        return [{"code": "no-contact"} if none else {"code": "contact", "address": locator}]
    return [] if locator == "none" else [_imported(locator)]


def _in_parts(connection: sa.Connection, table: sa.TableClause) -> Any:
    last = 0
    while rows := connection.execute(
        sa.select(table).where(table.c.id > last).order_by(table.c.id).limit(_AT_ONCE)
    ).all():
        last = rows[-1].id
        yield rows


def _codes_of(detail: str, because: str | None) -> list[dict[str, Any]]:
    if because == "only mentions":
        before, _, text = detail.partition(_MENTIONS)
        kept = {"code": "mentions-kept", "mentions": [_imported(text or detail)]}
        return [*_before(before if text else ""), kept]
    if because is None or because not in _READ:
        return [_imported(detail)]
    code, pattern, fallback = _READ[because]
    # Another sentence may stand before it ("3 rows erased; …").
    found = re.search(f"{pattern}\\Z", detail, re.DOTALL)
    if found is None:
        numbers = {"kept-by-hold": {"number": 0}, "nothing-removed": {"rows": 0}, "still-named": {"rows": 0}}  # fmt: skip
        said = {fallback: detail} if fallback else {}
        # Words that no version wrote are kept as they are, too, where the code has no place for them.
        return [{"code": code, **numbers.get(code, {}), **said}, *([] if fallback else [_imported(detail)])]  # fmt: skip
    numbers_in = ("number", "rows")
    fields = {n: int(v) if n in numbers_in else v for n, v in found.groupdict().items()}
    return [*_before(detail[: found.start()]), {"code": code, **fields}]


def _before(text: str) -> list[dict[str, Any]]:
    """A sentence that stood before the one that a code takes the place of."""
    text = text.strip().removesuffix(";").strip()
    return [_imported(text)] if text else []


def _imported(text: str) -> dict[str, Any]:
    return {"code": "imported", "text": text}
