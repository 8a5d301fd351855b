"""The key of a task: what changes it, and what does not."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import DatasetRef, RunInfo, TaskRequest
from ropewalk.workflow import loads, partition_on, partitions, task_request

TEXT = """
start: 2013-01-01
partition: day
params: {least: {type: integer, default: 1}}
steps:
  a:
    collect: sql
    with: {connection: db, query: "SELECT 1 AS n WHERE {{ partition.start }} < now()"}
  b:
    process:
      - cast: {of: a, columns: {n: integer}}
      - sql: SELECT n FROM this WHERE n > {{ params.least }}
    checks:
      - unique: [n]
  c:
    store: postgres
    from: b
    with: {schema: s}
  d:
    present: report
    with: {charts: [{table: {of: b}}]}
"""
REF = DatasetRef(id="k/data", fingerprint="f" * 64, rows=1, bytes=8)


def key(step: str, text: str = TEXT, **more: Any) -> str:
    """The key of a step's task, for the first of January."""
    return task_key(request(step, text, **more))


def request(step: str, text: str = TEXT, **more: Any) -> TaskRequest:
    """A step's task, for the first of January."""
    workflow = loads(text, Path("w.yaml"))
    options: dict[str, Any] = {
        "run": RunInfo(id="run-1", requested=1, attempt="try-1"),
        "partition": partition_on(workflow, more.pop("day", date(2013, 1, 1))),
        "inputs": {"a": REF, "b": REF},
    }
    return task_request(workflow, workflow.steps[step], **{**options, **more})


OTHER_RUN: dict[str, Any] = {
    "run": RunInfo(id="run-2", requested=2, title="T", url="http://x", attempt="try-9")
}


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("SELECT n FROM this WHERE n >", "select  n\n          from this /* why */\n          where n >"),
        TEXT.replace("{of: a, columns: {n: integer}}", "{columns: {n: integer}, of: a}"),
        TEXT.replace("start: 2013-01-01\npartition: day", "partition: day\nstart: 2013-01-01"),
        f"# a comment\ntitle: another\n{TEXT}",
    ],
)  # fmt: skip
def test_how_it_is_written_does_not_matter(text: str) -> None:
    assert key("b", text) == key("b")


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("n > {{", "n >= {{"),
        TEXT.replace("n: integer", "n: smallint"),
        TEXT.replace("- unique: [n]", "- not_null: [n]"),
        TEXT.replace("default: 1", "default: 2"),
        TEXT.replace("SELECT n FROM this", "SELECT 'N' AS n, 1 AS m FROM this"),
    ],
)
def test_what_it_means_does(text: str) -> None:
    assert key("b", text) != key("b")


LAID = """
start: 2013-01-01
partition: day
steps:
  a:
    collect: sql
    with: {connection: db, query: "SELECT n, s FROM t WHERE {{ partition.start }} < d AND s = 'a  b'"}
  f:
    collect: files
    with: {path: "data://x.csv", select: [n, s], where: "n > 0 AND s = 'a  b'"}
  b:
    process:
      - filter: n > 0 AND s <> 'a  b'
      - aggregate: {by: [s], columns: {total: sum(n)}}
    from: a
    checks:
      - sql: total > 0
"""


@pytest.mark.parametrize(
    ("step", "old", "new"),
    [
        ("a", "SELECT n, s FROM", "SELECT  n,   s FROM"),
        ("a", "{{ partition.start }}", "{{partition.start}}"),
        ("f", "n > 0", "n  >   0"),
        ("b", "filter: n > 0", "filter: n  >  0"),
        ("b", "n > 0 AND", "n>0 and"),
        ("b", "sum(n)", "SUM( n )"),
        ("b", "sql: total > 0", "sql: total  >0"),
    ],
)
def test_how_an_expression_or_a_sources_query_is_laid_out_does_not_matter(
    step: str, old: str, new: str
) -> None:
    assert old in LAID
    assert key(step, LAID.replace(old, new)) == key(step, LAID)


@pytest.mark.parametrize("step", ["a", "f", "b"])
def test_the_white_space_of_a_text_does(step: str) -> None:
    assert key(step, LAID.replace("'a  b'", "'a b'")) != key(step, LAID)


def test_its_inputs_content_does_and_their_place_does_not() -> None:
    moved = REF.model_copy(update={"id": "other/data", "flight": "grpc://elsewhere:1"})
    changed = REF.model_copy(update={"fingerprint": "e" * 64})
    assert key("b", inputs={"a": moved}) == key("b", inputs={"a": REF})
    assert key("b", inputs={"a": changed}) != key("b", inputs={"a": REF})


def test_the_partition_does_where_a_step_runs_by_partitions() -> None:
    assert key("a", day=date(2013, 1, 2)) != key("a")


def test_a_step_that_computes_belongs_to_no_run() -> None:
    assert key("b", **OTHER_RUN) == key("b")
    assert key("a", **OTHER_RUN) == key("a")


def test_a_page_and_a_load_belong_to_theirs() -> None:
    assert key("d", **OTHER_RUN) != key("d")
    assert key("c", **OTHER_RUN) != key("c")
    retried: dict[str, Any] = {"run": RunInfo(id="run-1", requested=1, attempt="try-2")}
    assert key("c", **retried) == key("c")


def test_a_collect_step_that_is_cleared_reads_anew() -> None:
    assert key("a", generation="run-1/4") != key("a", generation="0")
    assert key("b", generation="run-1/4") == key("b", generation="0")


def test_each_run_of_a_schedule_without_partitions_reads_anew() -> None:
    """Also from a first to a last day; without a schedule that range is read once."""
    ranged = TEXT.replace("partition: day", "end: 2013-12-31")
    assert key("a", ranged, **OTHER_RUN) == key("a", ranged)
    scheduled = f'schedule: "@hourly"\n{ranged}'
    assert key("a", scheduled, **OTHER_RUN) != key("a", scheduled)


def test_the_version_of_a_plugin_does() -> None:
    one = request("b")
    newer = one.do[0].model_copy(update={"version": "2"})
    assert task_key(one.model_copy(update={"do": [newer, *one.do[1:]]})) != task_key(one)


def batch(step: str, text: str = TEXT, **more: Any) -> TaskRequest:
    """A step's task for the first three days of January."""
    workflow = loads(text, Path("w.yaml"))
    days = list(partitions(workflow, date(2013, 1, 1), date(2013, 1, 3)))
    return request(step, text, batch=days, **more)


def test_a_batch_has_each_partition_with_its_own_values() -> None:
    one = batch("a")
    assert [part.partition.name for part in one.batch] == ["2013-01-01", "2013-01-02", "2013-01-03"]
    assert [part.values for part in one.batch] == [
        {"partition.start": f"2013-01-0{day}T00:00:00+00:00"} for day in (1, 2, 3)
    ]
    assert one.partition is not None
    assert one.partition.name == "2013-01-01_2013-01-03"
    assert one.values == {}
    assert task_key(one) != key("a")


def test_a_source_that_names_no_partition_is_read_once_for_a_batch() -> None:
    one = batch("a", TEXT.replace(" WHERE {{ partition.start }} < now()", ""))
    assert one.batch == []
    assert one.partition is not None
    assert one.partition.name == "2013-01-01_2013-01-03"


def test_a_source_that_reads_on_from_run_to_run_is_not_batched() -> None:
    text = TEXT.replace("with: {connection", "with: {cursor: {column: n}, connection")
    with pytest.raises(ConfigError, match="its partitions cannot be run as a batch"):
        batch("a", text)


def test_a_batch_draws_the_page_of_its_last_partition() -> None:
    one = batch("d")
    assert [part.partition.name for part in one.batch] == ["2013-01-03"]
    assert one.partition == one.batch[0].partition


def test_a_batch_has_the_time_of_all_its_partitions() -> None:
    assert batch("b", TEXT.replace("steps:", "timeout: 10s\nsteps:")).timeout == 30


def test_values_are_given_and_never_pasted() -> None:
    one = request("b", params={"least": 7})
    assert one.values == {"params.least": 7}
    assert "{{ params.least }}" in str(one.do[1].options)


SAY = """
import sys
sys.path[:0] = [{root!r}, {include!r}]
from tests.workflow.test_requests import key
print(key("b"))
"""


@pytest.mark.parametrize("seed", ["0", "1", "12345"])
def test_a_key_is_the_same_in_every_process(seed: str) -> None:
    root = Path(__file__).parents[2]
    code = SAY.format(root=str(root), include=str(root / "include"))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == key("b")


def test_how_long_a_dataset_is_kept_is_asked_for_and_no_part_of_the_key() -> None:
    kept = TEXT.replace("steps:", "retention: 30d\nsteps:")
    assert request("b", kept).retention == 30 * 86400
    assert request("b").retention is None
    assert key("b", kept) == key("b")


def test_no_dataset_is_kept_for_less_than_a_day() -> None:
    with pytest.raises(ConfigError, match=r"w\.yaml:5:12: a dataset is kept for 1d at least"):
        request("b", TEXT.replace("steps:", "retention: 1h\nsteps:"))
