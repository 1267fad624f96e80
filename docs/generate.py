"""Writes the reference pages from the code: `make docs`. A test holds the two together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Made by `make docs` from the code; do not edit. -->\n\n"


def settings_page() -> str:
    from airflow_mlsec.settings import OPTIONS

    lines = [
        "# Settings",
        "",
        "Section `[mlsec]` of `airflow.cfg`, or environment variables `AIRFLOW__MLSEC__…`.",
        "",
        "| option | default | what |",
        "|---|---|---|",
    ]
    for option in OPTIONS:
        default = option.default.replace("{airflow_home}", "$AIRFLOW_HOME")
        default = default.replace("{state_folder}", "<state_folder>")
        lines.append(
            f"| `{option.name}` | {f'`{default}`' if default else ''} | {option.description} |"
        )
    return NOTE + "\n".join(lines) + "\n"


def controls_page() -> str:
    from airflow_mlsec.controls import DatasetControl, controls, law

    found = controls()
    lines = [
        "# Controls",
        "",
        f"{len(found)} controls; {sum(not c.is_declared for c in found)} of them look at more than what people have declared. "
        "What cannot be told has not passed. `mlsec check` and `ComplianceCheckOperator` ask those of one dataset (`source` "
        "and `release`), `mlsec controls run` the others, about everything that the register knows. Your own: "
        "`docs/how-to/add-a-control.md`.",
        "",
        f"The law catalogue has version {law().version} and was compared with the law in force on {law().checked}.",
    ]
    for family in dict.fromkeys(c.family for c in found):
        lines += ["", f"## {family}", ""]
        for c in (c for c in found if c.family == family):
            asked = c.stage if isinstance(c, DatasetControl) else "everything"
            numbers = "".join(f" `{n}` = {v}." for n, v in c.parameters.items())
            lines += [
                f"**`{c.id}`** ({c.severity.value}; {asked}, {c.asset.value}). {c.title.en}.",
                "",
                f"- Source: {c.provisions()}",
                f"- Reads: {', '.join(c.reads)}.{numbers}",
                f"- To do: {c.remedy.en}",
                f"- Holds: {c.example.holds}",
                f"- Fails: {c.example.fails}",
                "",
            ]
    return NOTE + "\n".join(lines).rstrip() + "\n"


def cli_page() -> str:
    from airflow_mlsec.cli._main import root

    lines = [
        "# Command line",
        "",
        "Exit codes: 0 done, 1 a check failed, 2 bad usage or input, 3 refused for safety. `--json` prints JSON.",
        "",
    ]
    lines += _commands(root, "mlsec")
    return NOTE + "\n".join(lines).rstrip() + "\n"


def _commands(command: click.Command, name: str) -> list[str]:
    # As under `mlsec` itself: click keeps the help option that a command had first, here or when it was run.
    context = click.Context(
        command, info_name=name, terminal_width=100, max_content_width=100, help_option_names=["-h", "--help"]
    )  # fmt: skip
    lines: list[str] = []
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            lines += _commands(found, f"{name} {child}")
        return lines
    return [f"## {name}", "", "```text", command.get_help(context), "```", ""]


def policy_page() -> str:
    from airflow_mlsec.policy import policy_json_schema

    schema = policy_json_schema()
    lines = [
        "# Policy",
        "",
        "One YAML file per dataset. `mlsec policy schema` prints this as JSON Schema.",
        "",
        *_table(schema),
    ]
    for name, part in sorted(schema["$defs"].items()):
        title = [f"## {name}", "", " ".join(str(part.get("description", "")).split()), ""]
        if "enum" in part:
            lines += [*title, ", ".join(f"`{value}`" for value in part["enum"]), ""]
        else:
            lines += [*title, *_table(part)]
    return NOTE + "\n".join(lines).rstrip() + "\n"


def _table(schema: dict[str, Any]) -> list[str]:
    required = set(schema.get("required", ()))
    lines = ["| key | type | default |", "|---|---|---|"]
    for key, value in schema.get("properties", {}).items():
        default = "required" if key in required else f"`{value.get('default')}`"
        if default == "`None`":
            default = ""
        lines.append(f"| `{key}` | {_type(value)} | {default} |")
    return [*lines, ""]


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return " \\| ".join(f"`{item}`" for item in value["enum"])
    for key in ("anyOf", "oneOf"):
        if key in value:
            return " or ".join(_type(part) for part in value[key] if part.get("type") != "null")
    if value.get("type") == "array":
        return f"list of {_type(value['items'])}"
    if value.get("type") == "object":
        return f"mapping of {_type(value.get('additionalProperties', {}))}"
    return str(value.get("type", "any"))


PAGES = {
    "settings.md": settings_page,
    "controls.md": controls_page,
    "cli.md": cli_page,
    "policy.md": policy_page,
}


def main() -> None:
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make())
        print(f"docs/reference/{name}")


if __name__ == "__main__":
    main()
