"""The commands behind ``make up``, ``down``, ``status``, ``logs``, ``shell``, ``env`` and
``clean``.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Annotated

import typer
from rich.console import Console

from ropewalk.contracts.errors import RopewalkError
from ropewalk.local import down, environment, first_run, logs, remove, status, up
from ropewalk.local.home import Home
from ropewalk.local.installation import Installation

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
console = Console(highlight=False)

Names = Annotated[list[str] | None, typer.Argument(help="services; all where none is named")]


@app.command("up")
def up_command(
    *,
    only: Annotated[str, typer.Option(help="start only these: postgres,airflow,collect,…")] = "",
    run: Annotated[bool, typer.Option(help="run the demo workflow for its first day")] = True,
) -> None:
    """Start what does not run, and wait until it answers."""
    home = Home.from_environment()
    with home.locked():
        installation = up.up(home, console, [name for name in only.split(",") if name])
    if only:
        return
    if run:
        first_run.first_run(installation, console)
    up.summarise(installation, console)


@app.command("down")
def down_command() -> None:
    """Stop everything."""
    home = Home.from_environment()
    with home.locked():
        down.down(home, console)


@app.command("status")
def status_command() -> None:
    """Show what runs, where, since when, and how much memory it has; programs' tokens are renewed."""
    home = Home.from_environment()
    console.print(status.status(home))
    if home.endpoints.exists():
        Installation.open(home).write_endpoints()


@app.command("logs")
def logs_command(
    *,
    names: Names = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", help="show so many of the last lines first")
    ] = 10,
    follow: Annotated[bool, typer.Option(help="go on with what comes")] = True,
) -> None:
    """Show the services' logs."""
    with suppress(KeyboardInterrupt):
        logs.show(Home.from_environment(), console, names or (), lines=lines, follow=follow)


@app.command("env")
def env_command() -> None:
    """Print the environment in which airflow, psql and ropewalk work on the stack, as lines for a
    shell.
    """
    typer.echo(environment.exports(Home.from_environment()))


@app.command("shell")
def shell_command() -> None:
    """Become a shell with that environment."""
    environment.shell(Home.from_environment())


@app.command("remove")
def remove_command() -> None:
    """Stop everything, then remove its state: databases, results, logs, passwords."""
    home = Home.from_environment()
    with home.locked():
        down.down(home, console)
    remove.remove(home)


def main() -> None:
    """Runs a command; an error of ours is one message, without a trace."""
    try:
        app()
    except RopewalkError as error:
        console.print(f"[red]Error:[/] {error}", markup=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
