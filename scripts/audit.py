"""Asks OSV (https://osv.dev) for known vulnerabilities of the locked packages; ends with 1 where one is not judged yet.

A judgement is a line of ``scripts/judged.txt``: the vulnerability, the day until which it holds, and why.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements.txt")
    parser.add_argument("--judged", type=Path, default=ROOT / "scripts" / "judged.txt")
    parser.add_argument("--osv-url", default="https://api.osv.dev/v1/query")
    chosen = parser.parse_args()
    judged = judgements(chosen.judged, datetime.now(UTC).date())
    command = [
        sys.executable, "-m", "pip_audit", "--requirement", str(chosen.lock), "--disable-pip",
        "--vulnerability-service", "osv", "--osv-url", chosen.osv_url,
        "--progress-spinner", "off", "--desc", "on",
    ]  # fmt: skip
    for one in judged:
        command += ["--ignore-vuln", one]
    sys.exit(subprocess.run(command, check=False).returncode)


def judgements(file: Path, today: date) -> list[str]:
    """The vulnerabilities that are judged; exits where a judgement is over, or gives no reason."""
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            name, until, _reason = line.split(maxsplit=2)
            last = date.fromisoformat(until)
        except ValueError:
            sys.exit(f"{file}:{number}: a judgement is ID YYYY-MM-DD reason, not {line!r}")
        if last < today:
            sys.exit(f"{file}:{number}: the judgement of {name} was until {until}: judge it anew")
        found.append(name)
    return found


if __name__ == "__main__":
    main()
