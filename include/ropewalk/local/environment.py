"""``make env`` and ``make shell``: the environment in which ``airflow``, ``psql`` and ``ropewalk``
work on the stack.
"""

from __future__ import annotations

import os
import shlex

from ropewalk.local import processes
from ropewalk.local.databases import READER, RESULTS
from ropewalk.local.home import Home, write_private
from ropewalk.local.installation import Installation

NAMES = ("PYTHONPATH", "NO_PROXY", "no_proxy")


def environment(home: Home) -> dict[str, str]:
    """The variables to set; ``psql`` is let in as the results' reader, and as ``-U postgres`` over
    the socket.
    """
    installation = Installation.open(home)
    cluster = installation.cluster
    full = installation.airflow_environment()
    chosen = {
        name: value for name, value in full.items() if name in NAMES or name.startswith("AIRFLOW_")
    }
    return {
        **chosen,
        **installation.run_environment(),
        "PATH": f"{cluster.install / 'bin'}:{processes.inherited()['PATH']}",
        "ROPEWALK_HOME": str(home.path),
        "PGHOST": str(cluster.sockets),
        "PGPORT": str(cluster.port),
        "PGUSER": READER,
        "PGDATABASE": RESULTS,
        "PGPASSFILE": _password_file(installation),
    }


def exports(home: Home) -> str:
    """The environment as lines for a shell to ``eval``."""
    return "\n".join(
        f"export {name}={shlex.quote(value)}" for name, value in environment(home).items()
    )


def shell(home: Home) -> None:
    """Becomes the user's shell with that environment."""
    program = os.environ.get("SHELL") or "/bin/sh"
    os.execve(program, [program], {**os.environ, **environment(home)})  # noqa: S606 - the user's own shell


def _password_file(installation: Installation) -> str:
    path = installation.home.path / "pgpass"
    write_private(path, f"*:*:*:{READER}:{installation.secrets[READER]}\n")
    return str(path)
