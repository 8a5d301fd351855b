"""Every case of bad input, through the collect stage as a service: its error, its quarantine, its rows.

The number in a case's name is the one of the catalogue that the cases follow: 1-26 bytes, 27-58 CSV,
59-77 JSON and Excel, 78-88 Parquet and Arrow.
"""

from __future__ import annotations

import json
import re
import time

import psycopg
import pytest
from psycopg import sql
from ropewalk.contracts.errors import RopewalkError
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import Report, RunInfo, TaskRequest, Use
from ropewalk.contracts.plugins import plugin

from tests.corpus import arrow_cases, bytes_cases, document_cases, text_cases
from tests.corpus.case import Case, same
from tests.corpus.conftest import MEMORY, Line

CASES = [*bytes_cases.CASES, *text_cases.CASES, *document_cases.CASES, *arrow_cases.CASES]
PUBLISHED = {
    "006-zero-byte-in-a-text", "007-half-a-surrogate-pair", "008-zero-character-in-json",
    "009-private-use-and-noncharacters", "011-marks-of-direction-in-a-text", "013-line-ends-in-quotes",
    "035-comma-quote-and-emoji-in-a-name", "036-names-that-mean-something-elsewhere", "041-beyond-a-float",
    "042-no-numbers-and-infinities", "045-decimals", "050-offsets", "051-times-of-day",
    "053-moments-out-of-range", "058-formulas", "060-identifiers-beside-large-floats",
    "077-cells-in-error", "085-zero-byte",
}  # fmt: skip
CLUMSY = {"unexpected", "crashed", "died", "memory"}  # ends that say little of the input


def request(case: Case) -> TaskRequest:
    """The task of a case: it reads all files of its folder."""
    options = {"path": f"data://{case.name}/*", **case.options}
    use = Use(plugin="files", version=plugin("source", "files").version, options=options)
    run = RunInfo(id="run-1", requested=0)
    return TaskRequest(
        workflow="corpus", step="read", stage="collect", do=[use], run=run, generation=case.name
    )


def laid(case: Case, line: Line) -> None:
    """Write a case's files."""
    folder = line.root / case.name
    folder.mkdir()
    for name, data in case.files.items():
        (folder / name).write_bytes(data if isinstance(data, bytes) else data())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_ends_as_it_must(line: Line, case: Case) -> None:
    laid(case, line)
    before = line.collect.process
    if case.error is not None:
        with pytest.raises(RopewalkError) as caught:
            line.collect.do(request(case))
        assert re.search(case.error, str(caught.value)), str(caught.value)
        assert caught.value.code == case.ends or caught.value.code not in CLUMSY
        assert caught.value.retryable == case.retryable
        assert case.name in str(caught.value) or caught.value.field
    else:
        report = line.collect.do(request(case))
        check_rows(case, line, report)
        if case.name in PUBLISHED:
            check_published(case, line, report)
    assert before is not None
    assert before.poll() is None
    most = most_memory(line, task_key(request(case)))
    assert most < MEMORY or case.ends == "memory"
    assert most > 0 or case.ends == "crashed"  # it may crash before anyone has looked


def most_memory(line: Line, key: str) -> int:
    """The bytes that the process of a task has held at most, as the kernel has counted them."""
    mark = f'"key": "{key[:12]}"'
    for _ in range(600):
        told = [one for one in line.collect.log().splitlines() if mark in one]
        ended = [one for one in map(json.loads, told) if one["event"] == "task.ended"]
        if ended:
            found: int = ended[-1]["memory"]
            return found
        time.sleep(0.05)
    raise AssertionError("the stage has not said that the task has ended")


def check_published(case: Case, line: Line, report: Report) -> None:
    """A reader of the table finds the very rows."""
    assert case.rows is not None
    options = {"schema": "out", "mode": "replace", "tables": {"read": case.name}}
    use = Use(plugin="postgres", version=plugin("sink", "postgres").version, options=options)
    run = RunInfo(id="run-1", requested=0)
    line.store.do(
        TaskRequest(
            workflow="corpus", step="publish", stage="store", do=[use], run=run,
            inputs={"read": report.outputs["data"]}, generation=case.name,
        )
    )  # fmt: skip
    names = sql.SQL(", ").join(sql.Identifier(one.name) for one in report.columns["data"])
    table = sql.Identifier("out", case.name)
    with psycopg.connect(line.results.stage("store"), options="-c timezone=UTC") as connection:
        found = connection.execute(sql.SQL("SELECT {} FROM {}").format(names, table)).fetchall()
    assert len(found) == len(case.rows)
    for row, wanted in zip(found, case.rows, strict=True):
        assert all(map(same, row, wanted)), (row, wanted)


def check_rows(case: Case, line: Line, report: Report) -> None:
    """What was read is what must be, and all else is accounted for."""
    assert case.rows is not None
    table = line.datasets.dataset(report.outputs["data"]).table()
    found = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    assert len(found) == len(case.rows)
    for row, wanted in zip(found, case.rows, strict=True):
        assert all(map(same, row, wanted)), (row, wanted)
    if case.types is not None:
        assert {field.name: str(field.type) for field in table.schema} == case.types
    assert report.rows.dropped == case.dropped
    check_aside(case, line, report)


def check_aside(case: Case, line: Line, report: Report) -> None:
    """Each refused row has its file, its line, its column and a reason."""
    rows = []
    if "quarantine" in report.outputs:
        rows = line.datasets.dataset(report.outputs["quarantine"]).table().to_pylist()
    rows.sort(key=lambda row: (row["line"], row["column"] or ""))
    assert [(row["line"], row["column"]) for row in rows] == [one[:2] for one in case.aside]
    for row, (_, _, reason) in zip(rows, case.aside, strict=True):
        assert re.search(reason, row["reason"]), row["reason"]
        assert row["source"].startswith(f"data://{case.name}/")
        assert "\0" not in row["reason"] + row["row"]


def test_names_are_told_apart() -> None:
    """Every case has a name of its own."""
    names = [case.name for case in CASES]
    assert set(names) >= PUBLISHED
    assert len(set(names)) == len(names)
