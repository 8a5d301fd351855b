"""The conformance suite of checks: inherit it, name the plugin, give it rows that pass and rows that fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ropewalk.contracts.errors import ConfigError, DataError
from ropewalk.contracts.models import CheckResult, Report
from ropewalk.contracts.plugins import plugin
from ropewalk.testing.transforms import ProcessBench, in_order, tables

SAME = ("sql", "SELECT * FROM rows")


class CheckSuite:
    """What every check keeps. ``good`` rows pass; of ``good`` and ``bad`` together ``failed`` fail, as ``detail`` says.

    ``whole`` says that the check judges the result as a whole, and can set no row aside. ``bad`` are then rows
    that make it fail.
    """

    name: ClassVar[str]
    options: ClassVar[Any]
    good: ClassVar[list[dict[str, Any]]]
    bad: ClassVar[list[dict[str, Any]]]
    detail: ClassVar[str]
    failed: ClassVar[int | None] = None
    whole: ClassVar[bool] = False
    wrong: ClassVar[Any] = None
    error: ClassVar[str] = ""

    @pytest.fixture
    def bench(self, tmp_path: Path) -> ProcessBench:
        """The stage, with a store of its own."""
        return ProcessBench(tmp_path)

    def check(self, bench: ProcessBench, rows: list[dict[str, Any]], on_fail: str) -> Report:
        """The report of a step that checks rows and changes nothing."""
        options = {**plugin("check", self.name).mapping(self.options), "on_fail": on_fail}
        return bench.run([SAME], tables({"rows": rows}), checks=[(self.name, options)])

    def result(self, report: Report) -> CheckResult:
        """What the check has found."""
        (found,) = report.checks
        return found

    @property
    def number(self) -> int:
        """How many rows fail."""
        return len(self.bad) if self.failed is None else self.failed

    def test_good_rows_pass(self, bench: ProcessBench) -> None:
        """And all of them go on."""
        report = self.check(bench, self.good, "fail")
        assert (self.result(report).status, self.result(report).failed) == ("passed", 0)
        assert report.rows.out == len(self.good)

    def test_no_false_green(self, bench: ProcessBench) -> None:
        """With ``fail`` nothing is published."""
        with pytest.raises(DataError) as caught:
            self.check(bench, self.good + self.bad, "fail")
        assert caught.value.detail == f"check {self.name} failed: {self.detail}"
        assert caught.value.code == "check_failed"

    def test_a_warning_lets_all_rows_go_on(self, bench: ProcessBench) -> None:
        """And says what it has found."""
        report = self.check(bench, self.good + self.bad, "warn")
        found = self.result(report)
        assert (found.status, found.failed, found.detail) == ("warned", self.number, self.detail)
        assert report.rows.out == len(self.good) + len(self.bad)

    def test_rows_are_set_aside_with_the_reason(self, bench: ProcessBench) -> None:
        """The good go on; each of the others is in quarantine, whole, with rule and reason."""
        if self.whole:
            pytest.skip("it judges the whole")
        report = self.check(bench, self.good + self.bad, "quarantine")
        assert self.result(report).status == "quarantined"
        assert self.result(report).failed == report.rows.quarantined == self.number
        assert report.rows.out == len(self.good) + len(self.bad) - self.number
        for row in bench.rows(report, "quarantine"):
            assert (row["source"], row["rule"], row["line"]) == ("made", self.name, None)
            assert row["reason"]
            assert set(json.loads(row["row"])) == set(self.good[0])

    def test_good_and_quarantine_are_all_rows_each_once(self, bench: ProcessBench) -> None:
        """No row is on both sides or on neither."""
        if self.whole:
            pytest.skip("it judges the whole")
        report = self.check(bench, self.good + self.bad, "quarantine")
        aside = [json.loads(row["row"]) for row in bench.rows(report, "quarantine")]
        assert in_order(bench.rows(report) + aside) == in_order(self.good + self.bad)

    def test_the_whole_cannot_be_set_aside(self, bench: ProcessBench) -> None:
        """A check of the whole says that it cannot."""
        if not self.whole:
            pytest.skip("it judges rows")
        with pytest.raises(ConfigError) as caught:
            self.check(bench, self.good, "quarantine")
        assert caught.value.detail == (
            f"check {self.name} judges the whole result and can set no row aside"
        )

    def test_no_rows_are_no_error(self, bench: ProcessBench) -> None:
        """A check of rows passes where there are none."""
        if self.whole:
            pytest.skip("it judges the whole")
        options = {**plugin("check", self.name).mapping(self.options), "on_fail": "fail"}
        inputs = {"rows": tables({"rows": self.good})["rows"].slice(0, 0)}
        report = bench.run([SAME], inputs, checks=[(self.name, options)])
        assert self.result(report).status == "passed"

    def test_an_unknown_column_is_refused_with_the_nearest_name(self, bench: ProcessBench) -> None:
        """Before anything runs."""
        if self.wrong is None:
            pytest.skip("it names no columns")
        with pytest.raises(ConfigError) as caught:
            bench.run([SAME], tables({"rows": self.good}), checks=[(self.name, self.wrong)])
        assert str(caught.value) == self.error

    def test_it_says_what_it_is(self) -> None:
        """One line, and a schema of its options."""
        info = plugin("check", self.name).info()
        assert info.description
        assert "on_fail" in info.options["properties"]
