"""``ropewalk status``: whether the local installation's stages and Airflow answer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from ropewalk.contracts.errors import ConfigError


def show_status(console: Console) -> None:
    """A table of what answers; the addresses are those of ``endpoints.json``."""
    home = Path(os.environ.get("ROPEWALK_HOME", ".ropewalk"))
    try:
        endpoints = json.loads((home / "endpoints.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(
            f"there is no installation in {home}", hint="make up, or set ROPEWALK_HOME"
        ) from None
    table = Table(box=None, header_style="bold")
    for column in ("", "address", "state"):
        table.add_column(column)
    for name, stage in endpoints["stages"].items():
        table.add_row(name, stage["url"], _answer(f"{stage['url']}/readyz"))
    airflow = endpoints["airflow"]["url"]
    table.add_row("airflow", airflow, _answer(f"{airflow}/api/v2/monitor/health"))
    console.print(table)


def _answer(url: str) -> str:
    try:
        answer = httpx.get(url, timeout=5, trust_env=False)
    except httpx.TransportError as error:
        return f"[red]does not answer[/] ({type(error).__name__})"
    if answer.is_success:
        return "[green]ready[/]"
    return f"[red]{answer.json().get('detail', answer.status_code)}[/]"
