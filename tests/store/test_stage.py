"""No false green: a plugin that loses or doubles rows is found by the row equation, or by its conformance suite."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ropewalk.contracts import plugins
from ropewalk.contracts.errors import FatalError
from ropewalk.contracts.models import Published
from ropewalk.contracts.plugins import CheckOptions, PluginOptions
from ropewalk.process.relations import Check
from ropewalk.testing.bench import TaskBench
from ropewalk.testing.checks import CheckSuite
from ropewalk.testing.sinks import Row, SinkSuite, numbers, table
from ropewalk.testing.transforms import ProcessBench


class Options(PluginOptions):
    """A sink that does with the rows what it should not, and tells of it or not."""

    file: str
    does: Literal["right", "drops", "doubles", "forgets"]
    tells: Literal["truth", "lie"] = "truth"
    mode: str = "append"


def write(options: Options, task: Any) -> None:
    """Append the rows to a file, some of them not, or twice."""
    for step, dataset in task.inputs.items():
        rows = dataset.table()
        written = {
            "right": rows,
            "drops": rows.slice(1),
            "doubles": pa.concat_tables([rows, rows]),
            "forgets": rows.slice(0, 0),
        }[options.does]
        path = Path(options.file)
        before = [pq.read_table(path)] if path.exists() else []
        pq.write_table(pa.concat_tables([*before, written]), path)
        if options.does != "forgets":
            told = written.num_rows if options.tells == "truth" else rows.num_rows
            task.published(Published(step=step, target=str(path), mode=options.mode, rows=told))


class BlindOptions(CheckOptions):
    """A check that looks at nothing."""


def check(*_: Any) -> Check:
    """Pass whatever there is."""
    return Check("blind", [], [])


@pytest.fixture(autouse=True)
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugins ``faulty`` and ``blind`` of this file, as an outside package brings them."""
    modules = {
        "faulty": {"Options": Options, "write": write},
        "blind": {"Options": BlindOptions, "check": check},
    }
    for name, parts in modules.items():
        module = ModuleType(f"an_outside_package_{name}", doc="Does what it should not.")
        vars(module).update(parts)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(
        plugins, "_modules", lambda _: {name: f"an_outside_package_{name}" for name in modules}
    )


@pytest.mark.parametrize(
    ("does", "said"),
    [("drops", "2"), ("doubles", "6"), ("forgets", "none")],
)
def test_a_sink_whose_rows_do_not_add_up_fails(tmp_path: Path, does: str, said: str) -> None:
    """And its report is never there: nothing of it is green."""
    bench = TaskBench(tmp_path)
    options = {"file": str(tmp_path / "out.parquet"), "does": does}
    request = bench.request(
        "store", [("faulty", options)], inputs={"days": table(numbers(1, 2, 3))}
    )
    with pytest.raises(
        FatalError, match=f"3 rows of days came in, and the sink has published {said}"
    ):
        bench.perform(request)
    assert list(tmp_path.glob("store/tasks/*/*/manifest.json")) == [
        *tmp_path.glob("store/tasks/00/*/manifest.json")
    ], "the input's alone"


class Faulty(SinkSuite):
    """The conformance suite over a sink that lies about its rows."""

    name = "faulty"

    def __init__(self, file: Path, does: str) -> None:
        self.file = file
        self.given = {"file": str(file), "does": does, "tells": "lie"}

    @property
    def options(self) -> dict[str, Any]:  # type: ignore[override]
        """What the suite is to try."""
        return self.given

    def read(self) -> list[Row]:
        """What it has written."""
        rows: list[Row] = pq.read_table(self.file).to_pylist() if self.file.exists() else []
        return rows


@pytest.mark.parametrize("does", ["drops", "doubles"])
def test_the_suite_of_sinks_notices_rows_that_a_sink_lies_about(tmp_path: Path, does: str) -> None:
    with pytest.raises(AssertionError):
        Faulty(tmp_path / "out.parquet", does).test_partitions_stand_beside_each_other(
            TaskBench(tmp_path), "append"
        )


def test_the_suite_of_sinks_notices_one_that_writes_again_what_is_there(tmp_path: Path) -> None:
    """Which is what this one does where it does right otherwise."""
    with pytest.raises(AssertionError):
        Faulty(tmp_path / "out.parquet", "right").test_a_task_done_again_changes_nothing(
            TaskBench(tmp_path), "append"
        )


class Blind(CheckSuite):
    """The conformance suite over a check that looks at nothing."""

    name = "blind"
    options: ClassVar[Any] = {}
    good: ClassVar[list[dict[str, Any]]] = [{"n": 1}]
    bad: ClassVar[list[dict[str, Any]]] = [{"n": None}]
    detail = "1 row"


def test_the_suite_of_checks_notices_one_that_looks_at_nothing(tmp_path: Path) -> None:
    suite, bench = Blind(), ProcessBench(tmp_path)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        suite.test_no_false_green(bench)
    with pytest.raises(AssertionError):
        suite.test_a_warning_lets_all_rows_go_on(bench)
