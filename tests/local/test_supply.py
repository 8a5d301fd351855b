"""What is installed is known: a bill of it, and an audit that a vulnerable package does not get past."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.servers import serving

ROOT = Path(__file__).parents[2]
HASH = "a" * 64
LOCK = f"idna==3.6 --hash=sha256:{HASH}\nrequests==2.19.0 --hash=sha256:{HASH}\n"
KNOWN = {
    "id": "PYSEC-2018-28",
    "aliases": ["CVE-2018-18074", "GHSA-x84v-xcm2-53pg"],
    "summary": "Authorization headers are sent on to where an https address redirects in plain http.",
    "affected": [
        {
            "package": {"name": "requests", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.20.0"}]}],
        }
    ],
}


class Osv(BaseHTTPRequestHandler):
    """Knows of one vulnerability, as OSV tells of it."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        """Answer a query about one package in one version."""
        query = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(query)
        known = query["package"]["name"] == "requests" and query["version"] == "2.19.0"
        body = json.dumps({"vulns": [KNOWN]} if known else {}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def osv() -> Iterator[str]:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Osv)) as url:
        Osv.asked.clear()
        yield f"{url}/v1/query"


def audit(
    osv: str, folder: Path, judged: str = "", lock: str = LOCK
) -> subprocess.CompletedProcess[str]:
    """``make audit`` of another lock, with another service and judgements."""
    (folder / "lock.txt").write_text(lock)
    (folder / "judged.txt").write_text(judged)
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "audit.py"), "--osv-url", osv,
         "--lock", str(folder / "lock.txt"), "--judged", str(folder / "judged.txt")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_planted_vulnerable_package_fails_the_audit(osv: str, tmp_path: Path) -> None:
    done = audit(osv, tmp_path)
    assert done.returncode == 1
    assert "requests" in done.stdout
    assert "PYSEC-2018-28" in done.stdout
    assert "2.20.0" in done.stdout, "where it is mended"
    assert "idna" not in done.stdout


def test_without_it_the_audit_passes_and_has_asked_for_each(osv: str, tmp_path: Path) -> None:
    done = audit(osv, tmp_path, lock=LOCK.splitlines()[0])
    assert done.returncode == 0, done.stderr
    assert [one["package"]["name"] for one in Osv.asked] == ["idna"]


def test_what_is_judged_passes_until_the_judgement_is_over(osv: str, tmp_path: Path) -> None:
    today = date.today()  # noqa: DTZ011 - a day more or less
    judged = "# why\n\nCVE-2018-18074 {} Nothing here is asked for with credentials.\n"
    assert audit(osv, tmp_path, judged.format(today + timedelta(days=9))).returncode == 0
    over = audit(osv, tmp_path, judged.format(today - timedelta(days=9)))
    assert over.returncode == 1
    assert "judged.txt:3: the judgement of CVE-2018-18074 was until" in over.stderr
    bare = audit(osv, tmp_path, "CVE-2018-18074\n")
    assert bare.returncode == 1
    assert "judged.txt:1: a judgement is ID YYYY-MM-DD reason" in bare.stderr


def test_a_service_that_is_away_is_no_clean_bill(tmp_path: Path) -> None:
    done = audit("http://127.0.0.1:1/v1/query", tmp_path)
    assert done.returncode != 0


def test_the_bill_names_every_locked_package_with_its_digests_and_is_valid() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "bom.py")]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert text == subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lock = (ROOT / "requirements.txt").read_text()
    names = [
        line.partition(" ")[0] for line in lock.splitlines() if "==" in line and line[0] not in " #"
    ]
    found = json.loads(text)["components"]
    assert sorted(f"{one['name']}=={one['version']}" for one in found) == sorted(names)
    digests = sum(len(one["externalReferences"][0]["hashes"]) for one in found)
    assert digests == lock.count("--hash=sha256:")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
