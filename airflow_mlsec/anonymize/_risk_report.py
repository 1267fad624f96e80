"""Risk as a page for people: numbers, and the sizes of the classes as bars. It loads nothing."""

from __future__ import annotations

import html
from collections.abc import Sequence

from airflow_mlsec.anonymize._risk import Against, Risk

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;color:#1a202c}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem}th,td{border:1px solid #cbd5e0;"
    "padding:.3rem .7rem;text-align:left}td.n{text-align:right;font-variant-numeric:tabular-nums}"
    "text{font:13px system-ui,sans-serif;fill:#1a202c}.bad{color:#c53030}"
)


def risk_page(
    title: str, risk: Risk, raw: Risk | None = None, against: Against | None = None
) -> str:
    """HTML of a risk, beside that of the raw table if it is given."""
    columns = ["released", *(["raw"] if raw else [])]
    shown = [risk, *([raw] if raw else [])]
    rows = [
        ("Rows", [f"{r.rows:,}" for r in shown]),
        ("Equivalence classes", [f"{r.classes:,}" for r in shown]),
        ("Smallest class", [f"{r.smallest_class:,}" for r in shown]),
        ("Highest risk (prosecutor, journalist)", [_percent(r.highest) for r in shown]),
        ("Average risk (marketer)", [_percent(r.average) for r in shown]),
        (f"Rows over {_percent(risk.threshold)}", [_percent(r.rows_over_threshold) for r in shown]),
        ("Unique rows", [_percent(r.unique_rows) for r in shown]),
        ("Average class size", [f"{r.average_class_size:,.1f}" for r in shown]),
        ("Discernibility", [f"{r.discernibility:,}" for r in shown]),
    ]
    for name in risk.attributes:
        told = [_percent(r.attributes[name].share) if name in r.attributes else "" for r in shown]
        rows.append((f"Rows whose class tells {name}", told))
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        _table(["", *columns], rows),
        "<h2>Classes by rows</h2>",
        _bars([(name, r.class_sizes) for name, r in zip(columns, shown, strict=True)]),
    ]
    if against is not None:
        together = [
            (f"People whose {n} both releases tell", [f"{c:,}"])
            for n, c in against.disclosed.items()
        ]
        parts += [
            "<h2>Together with the previous release</h2>",
            _table(
                ["", ""],
                [
                    ("People in both", [f"{against.people:,}"]),
                    ("Smallest group that both cannot tell apart", [f"{against.smallest_group:,}"]),
                    (
                        f"People in groups smaller than {against.k}",
                        [f"{against.people_in_groups_below:,}"],
                    ),
                    *together,
                ],
            ),
        ]
    head = f"<meta charset='utf-8'><title>{html.escape(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>"


def _table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr><th>{html.escape(name)}</th>"
        + "".join(f"<td class='n'>{html.escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, cells in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _bars(series: Sequence[tuple[str, dict[str, int]]]) -> str:
    """Horizontal bars, one for each range of sizes and table."""
    colours, lines, y = ("#3182ce", "#cbd5e0"), [], 0
    most = max((count for _, found in series for count in found.values()), default=0) or 1
    for label in series[0][1]:
        lines.append(f"<text x='0' y='{y + 14}'>{html.escape(label)}</text>")
        for place, (name, found) in enumerate(series):
            width = 480 * found[label] / most
            top = y + 16 * place
            lines.append(
                f"<rect x='110' y='{top + 2}' width='{width:.1f}' height='13' fill='{colours[place]}'>"
                f"<title>{html.escape(name)}</title></rect>"
                f"<text x='{116 + width:.1f}' y='{top + 13}'>{found[label]:,}</text>"
            )
        y += 16 * len(series) + 8
    legend = " ".join(
        f"<tspan fill='{colours[i] if i == 0 else '#718096'}'>■ {html.escape(name)}</tspan>"
        for i, (name, _) in enumerate(series)
    )
    return (
        f"<svg viewBox='0 0 680 {y + 22}' role='img' aria-label='Classes by rows' width='100%'>"
        f"{''.join(lines)}<text x='110' y='{y + 16}'>{legend}</text></svg>"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
