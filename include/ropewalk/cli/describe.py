"""``ropewalk describe``: the installed plugins, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
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


def show_one(kind: str, name: str, console: Console) -> None:
    """A plugin's options: name, type, default, meaning."""
    if kind not in KINDS:
        raise ConfigError(f"there is no kind {kind!r}", hint=nearest(kind, KINDS))
    found = plugin(kind, name)
    console.print(f"[bold]{name}[/]: {found.description}\n")
    schema = found.info().options
    table = Table(box=None, header_style="bold")
    for column in ("option", "type", "default", ""):
        table.add_column(column)
    for option, field in schema.get("properties", {}).items():
        default = "required" if option in schema.get("required", ()) else repr(field.get("default"))
        table.add_row(option, _type(field), default, field.get("description", ""))
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
