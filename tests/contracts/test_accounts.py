"""The ledger of a run: what balances, what has no equation, and what is told of rows that are missing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ropewalk.contracts.accounts import accounts
from ropewalk.contracts.models import DatasetRef, Published, Report, RowCounts

NOW = datetime(2013, 1, 1, tzinfo=UTC)


def report(step: str, rows: RowCounts, **more: Any) -> Report:
    """What a step has said."""
    data = DatasetRef(id="x/data", fingerprint="f", rows=rows.out, bytes=1)
    outputs = {} if "published" in more else {"data": data}
    return Report(
        key="a" * 64, workflow="w", step=step, stage="process", plugins=["sql"], run="r", outputs=outputs,
        rows=rows, started=NOW, ended=NOW, **more,
    )  # fmt: skip


READ = report(
    "read", RowCounts(read=10, out=8, quarantined=1, dropped={"where": 1}, cardinality="filter")
)
SUMS = report("sums", RowCounts(inputs={"read": 8}, out=3, cardinality="n:1", of="read"))


def test_every_step_after_those_that_it_reads() -> None:
    found = accounts({"sums": SUMS, "read": READ})
    assert [one.report.step for one in found] == ["read", "sums"]
    assert [(one.verdict, one.equation) for one in found] == [
        ("balanced", "10 read = 8 out + 1 quarantined + 1 dropped"),
        ("balanced", "8 read made 3"),
    ]


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        (RowCounts(read=10, out=8, cardinality="filter"), "2 rows too few"),
        (RowCounts(read=10, out=11, cardinality="1:1"), "1 row too many"),
        (RowCounts(inputs={"read": 7}, out=7, cardinality="1:1", of="read"),
         "7 rows of read came in, which has put out 8"),
        (RowCounts(inputs={"read": 8}, out=9, cardinality="n:1", of="read"), "1 row too many"),
        (RowCounts(inputs={"read": 8}, out=99, cardinality="join"), ""),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(rows: RowCounts, wrong: str) -> None:
    *_, found = accounts({"read": READ, "step": report("step", rows)})
    assert found.wrong == wrong
    assert found.verdict == ("unbalanced" if wrong else "open")


def test_a_table_has_the_rows_of_its_step_unless_a_later_run_has_written_it() -> None:
    def published(rows: int, *, superseded: bool = False) -> Report:
        target = Published(
            step="read", target="t", mode="replace", rows=rows, superseded=superseded
        )
        return report("publish", RowCounts(inputs={"read": 8}), published=[target])

    for rows, superseded, wrong in ((8, False, ""), (7, False, "t has 7 rows of 8"), (7, True, "")):
        *_, found = accounts({"read": READ, "publish": published(rows, superseded=superseded)})
        assert (found.wrong, found.went) == (wrong, 0 if superseded else rows)


COUNTS = st.integers(0, 20)


@given(
    read=COUNTS, out=COUNTS, aside=COUNTS, dropped=st.dictionaries(st.sampled_from("ab"), COUNTS)
)
def test_the_equation_of_a_filter(read: int, out: int, aside: int, dropped: dict[str, int]) -> None:
    rows = RowCounts(read=read, out=out, quarantined=aside, dropped=dropped, cardinality="filter")
    assert rows.unexplained == read - out - aside - sum(dropped.values())
