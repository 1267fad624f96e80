"""Risk and utility as an HTML page: figures and bars. It loads nothing, and contains no value of the data."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_mlsec.anonymize.risk._linkage import Linkage
from airflow_mlsec.anonymize.risk._risk import Against, Risk
from airflow_mlsec.anonymize.risk._utility import ModelUtility

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a202c}"
    "h1{font-size:1.6rem}h2{font-size:1.15rem;margin:2rem 0 .3rem}p{color:#4a5568;margin:.2rem 0 .8rem}"
    "table{border-collapse:collapse;margin:.8rem 0}th,td{border-bottom:1px solid #e2e8f0;padding:.3rem .9rem .3rem 0;"
    "text-align:left;font-weight:400}td.n{text-align:right;font-variant-numeric:tabular-nums}tr:first-child th{color:#718096}"
    "svg{display:block;margin:.5rem 0}text{font:13px system-ui,sans-serif;fill:#1a202c}.s0{fill:#2b6cb0}.s1{fill:#cbd5e0}"
    "@media(prefers-color-scheme:dark){body{background:#1a202c;color:#edf2f7}text{fill:#edf2f7}p{color:#a0aec0}"
    "th,td{border-color:#2d3748}.s0{fill:#63b3ed}.s1{fill:#4a5568}}"
)
# The widths of a chart: the names at its left, and its longest bar.
_NAMES, _LONGEST = 280, 440


@dataclass(frozen=True)
class Comparison:
    """What else is known about a release: the risk of the raw table, the risk together with an earlier
    release, an attack with a file, the score of a model, and the loss according to the plan."""

    raw: Risk | None = None
    against: Against | None = None
    linkage: Linkage | None = None
    utility: ModelUtility | None = None
    achieved: Mapping[str, Any] | None = None


def risk_page(title: str, risk: Risk, beside: Comparison | None = None) -> str:
    """HTML of a risk, and of what it can be compared with."""
    beside = beside or Comparison()
    shown = [("released", risk), *([("raw", beside.raw)] if beside.raw else [])]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        *_figures(shown),
        "<h2>Classes by size</h2>",
        "<p>How many equivalence classes have how many persons (rows, if a table does not say whose they are). Small "
        "classes single people out.</p>",
        _bars([(name, r.class_sizes) for name, r in shown], "Classes by size"),
        *_lost(beside.achieved),
        *_scored(beside.utility),
        *_linked(beside.linkage),
        *_together(beside.against),
    ]
    head = f"<meta charset='utf-8'><title>{html.escape(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>"


def _figures(shown: Sequence[tuple[str, Risk]]) -> Iterator[str]:
    risks = [risk for _, risk in shown]
    first = risks[0]
    chances = {
        "highest (prosecutor, journalist)": [r.highest for r in risks],
        "average (marketer)": [r.average for r in risks],
        f"rows over {_percent(first.threshold)}": [r.rows_over_threshold for r in risks],
        "unique rows": [r.unique_rows for r in risks],
    }
    if first.uniqueness is not None:
        known = [r.uniqueness.dankar if r.uniqueness else 0.0 for r in risks]
        chances["unique people (estimated)"] = known
    for name in first.attributes:
        told = [r.attributes[name].share if name in r.attributes else 0.0 for r in risks]
        chances[f"rows whose class tells {name}"] = told
    yield "<h2>Risk</h2>"
    series = [
        (name, {label: values[place] for label, values in chances.items()})
        for place, (name, _) in enumerate(shown)
    ]
    yield _bars(series, "Risk", _percent, 1.0)
    rows = [
        ("Rows", [f"{r.rows:,}" for r in risks]),
        ("Persons", ["rows are counted" if r.persons is None else f"{r.persons:,}" for r in risks]),
        ("Equivalence classes", [f"{r.classes:,}" for r in risks]),
        ("Smallest class", [f"{r.smallest_class:,}" for r in risks]),
        ("Average class size", [f"{r.average_class_size:,.1f}" for r in risks]),
        ("Discernibility", [f"{r.discernibility:,}" for r in risks]),
    ]
    yield _table(["", *(name for name, _ in shown)], rows)


def _lost(achieved: Mapping[str, Any] | None) -> Iterator[str]:
    if not achieved or "loss_by_column" not in achieved:
        return
    yield "<h2>Loss by column</h2><p>0 %: every value is unchanged; 100 %: nothing is left of it.</p>"
    lost = sorted(achieved["loss_by_column"].items(), key=lambda each: -each[1])
    yield _bars([("lost", dict(lost))], "Loss by column", _percent, 1.0)
    rows = [("Loss (NCP)", [_percent(float(achieved["ncp"]))])]
    if "kl_divergence" in achieved:
        rows.append(("Kullback-Leibler divergence", [f"{achieved['kl_divergence']:.4f} nats"]))
    rows += [(name, [f"{value:.6g}"]) for name, value in achieved.get("models", {}).items()]
    yield _table(["", "achieved"], rows)


def _scored(utility: ModelUtility | None) -> Iterator[str]:
    if utility is None:
        return
    yield f"<h2>A model of {html.escape(utility.target)}</h2>"
    scores = {
        "released": utility.released,
        "raw": utility.raw,
        "without any column": utility.baseline,
    }
    yield _bars([(utility.metric, scores)], "Model utility", lambda x: f"{x:.3f}", 1.0)


def _linked(linkage: Linkage | None) -> Iterator[str]:
    if linkage is None:
        return
    yield "<h2>Linkage with an attacker's file</h2>"
    yield _table(
        ["", ""],
        [
            ("Rows of the file", [f"{linkage.rows:,}"]),
            ("With candidates", [f"{linkage.with_candidates:,}"]),
            ("With exactly one candidate", [f"{linkage.with_one_candidate:,}"]),
            ("Highest chance of a correct match", [_percent(linkage.highest)]),
            ("Correct matches, on average", [f"{linkage.expected:,.1f}"]),
        ],
    )


def _together(against: Against | None) -> Iterator[str]:
    if against is None:
        return
    yield "<h2>Together with the previous release</h2>"
    told = [
        (f"People whose {n} both together reveal", [f"{c:,}"]) for n, c in against.disclosed.items()
    ]
    yield _table(
        ["", ""],
        [
            (
                "People in both",
                ["unknown: no pseudonym" if against.people is None else f"{against.people:,}"],
            ),
            ("Smallest group that both do not distinguish", [f"{against.smallest_group:,}"]),
            (f"People in groups smaller than {against.k}", [f"{against.people_in_groups_below:,}"]),
            *told,
            ("People who joined", [f"{against.joined:,}"]),
            (
                f"Of them, among fewer than {against.k} in their class",
                [f"{against.joined_in_groups_below:,}"],
            ),
            ("People who left", [f"{against.left:,}"]),
            (
                f"Of them, among fewer than {against.k} in their class",
                [f"{against.left_in_groups_below:,}"],
            ),
            *((f"Of them, whose {n} is revealed", [f"{c:,}"]) for n, c in against.told.items()),
            ("Rows of classes that only one release has", [f"{against.not_comparable:,}"]),
        ],
    )


def _table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr><th>{html.escape(name)}</th>"
        + "".join(f"<td class='n'>{html.escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, cells in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _bars(
    series: Sequence[tuple[str, Mapping[str, float]]],
    label: str,
    written: Callable[[float], str] = lambda count: f"{count:,}",
    full: float = 0.0,
) -> str:
    """Horizontal bars, one for each name and series; the longest is ``full``, or the largest value."""
    most = max([full, *(value for _, found in series for value in found.values())]) or 1
    lines, y = [], 0
    for name in series[0][1]:
        lines.append(
            f"<text x='{_NAMES - 10}' y='{y + 3 + 8 * len(series)}' text-anchor='end'>{html.escape(name)}</text>"
        )
        for place, (_, found) in enumerate(series):
            width, top = max(1.0, _LONGEST * max(0.0, found[name]) / most), y + 16 * place
            lines.append(
                f"<rect x='{_NAMES}' y='{top}' width='{width:.1f}' height='13' rx='2' class='s{place}'/>"
                f"<text x='{_NAMES + width + 6:.1f}' y='{top + 11}'>{html.escape(written(found[name]))}</text>"
            )
        y += 16 * len(series) + 8
    if len(series) > 1:
        for place, (name, _) in enumerate(series):
            x = _NAMES + 110 * place
            lines.append(
                f"<rect x='{x}' y='{y + 4}' width='13' height='13' rx='2' class='s{place}'/>"
                f"<text x='{x + 19}' y='{y + 15}'>{html.escape(name)}</text>"
            )
        y += 24
    size = f"viewBox='0 0 {_NAMES + _LONGEST + 90} {y}'"
    return f"<svg {size} role='img' aria-label='{html.escape(label)}' width='100%'>{''.join(lines)}</svg>"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
