"""``ropewalk describe``: the installed plugins, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ropewalk.contracts.errors import ConfigError, nearest
from ropewalk.contracts.plugins import KINDS, all_plugins, plugin


def show_all(kind: str | None, console: Console) -> None:
    """Every plugin of a kind, or of all, each with its one line."""
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"there is no kind {kind!r}", hint=nearest(kind, KINDS))
    for name in [kind] if kind else KINDS:
        table = Table(
            box=None, show_header=False, title=name, title_justify="left", title_style="bold"
        )
        for found in all_plugins(name):
            table.add_row(f"  {found.name}", found.description)
        console.print(table)


def markdown() -> str:
    """All plugins and their options as a page of documentation."""
    lines = ["# Plugins", "", "Made by `ropewalk describe --markdown > docs/plugins.md`.", ""]
    for kind in KINDS:
        lines += [f"## {kind.capitalize()}", ""]
        for found in all_plugins(kind):
            lines += [
                f"### `{found.name}`",
                "",
                found.description,
                "",
                *_options(kind, found.name),
                "",
            ]
    return "\n".join(lines)


def _options(kind: str, name: str) -> list[str]:
    rows = [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
        for row in _rows(plugin(kind, name).info().options)
    ]
    return (
        ["| option | type | default | |", "|---|---|---|---|", *rows] if rows else ["No options."]
    )


def _rows(schema: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Name, type, default and meaning of every option."""
    needed = schema.get("required", ())
    return [
        (
            option,
            _type(field),
            "required" if option in needed else repr(field.get("default")),
            field.get("description", ""),
        )
        for option, field in schema.get("properties", {}).items()
    ]


def show_one(kind: str, name: str, console: Console) -> None:
    """A plugin's options: name, type, default, meaning."""
    if kind not in KINDS:
        raise ConfigError(f"there is no kind {kind!r}", hint=nearest(kind, KINDS))
    found = plugin(kind, name)
    console.print(f"[bold]{name}[/]: {found.description}\n")
    table = Table(box=None, header_style="bold")
    for column in ("option", "type", "default", ""):
        table.add_column(column)
    for row in _rows(found.info().options):
        table.add_row(*map(escape, row))
    console.print(table)


def _type(field: Mapping[str, Any]) -> str:
    """A field's type in a few words."""
    if "enum" in field:
        return " | ".join(str(value) for value in field["enum"])
    if "anyOf" in field:
        return " | ".join(_type(one) for one in field["anyOf"] if one.get("type") != "null")
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    return str(
        field.get("type", field.get("$ref", "").rpartition("/")[2] or field.get("const", "any"))
    )
