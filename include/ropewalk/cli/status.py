"""``ropewalk status``: whether the local installation's stages and Airflow answer."""

from __future__ import annotations

import ssl

import httpx
from rich.console import Console
from rich.table import Table

from ropewalk.cli.stages import endpoints, trusted


def show_status(console: Console) -> None:
    """A table of what answers; the addresses are those of ``endpoints.json``."""
    known = endpoints()
    verify = trusted(known)
    table = Table(box=None, header_style="bold")
    for column in ("", "address", "state"):
        table.add_column(column)
    for name, stage in known["stages"].items():
        table.add_row(name, stage["url"], _answer(f"{stage['url']}/readyz", verify))
    airflow = known["airflow"]["url"]
    table.add_row("airflow", airflow, _answer(f"{airflow}/api/v2/monitor/health", verify))
    console.print(table)


def _answer(url: str, verify: ssl.SSLContext | bool) -> str:  # noqa: FBT001 - httpx's own
    try:
        answer = httpx.get(url, timeout=5, trust_env=False, verify=verify)
    except httpx.TransportError as error:
        return f"[red]does not answer[/] ({type(error).__name__})"
    if answer.is_success:
        return "[green]ready[/]"
    return f"[red]{answer.json().get('detail', answer.status_code)}[/]"
