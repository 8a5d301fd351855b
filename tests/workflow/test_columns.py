"""A column that is known not to be there is refused before anything runs, where it stands; none is refused wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console
from ropewalk.cli.run import run_workflow
from ropewalk.contracts.errors import ConfigError
from ropewalk.workflow import Workflow, WorkflowError, load, loads

HEAD = """title: t
params: {column: {type: string, default: nope}, least: {type: integer, default: 1}}
steps:
  a:
    collect: sql
    with: {connection: db, query: "SELECT n, t.m, k + 1 AS k FROM z AS t WHERE n > {{ params.least }}"}
  o:
    collect: files
    with: {path: "data://x.csv", columns: {n: integer}}
  f:
    collect: files
    with: {path: "data://{{ run.id }}.csv", select: [n, word]}
"""
LINE = HEAD.count("\n") + 1  # where a test's own steps begin


def read(steps: str) -> Workflow:
    """The workflow with these steps after those of the head."""
    return loads(HEAD + steps, Path("w.yaml"))


def problems(steps: str) -> list[str]:
    """What is wrong with it, its lines counted from the first of the steps."""
    try:
        read(steps)
    except WorkflowError as error:
        return [
            f"{(one.line or 0) - LINE + 1}:{one.column}: {one.detail} ({one.hint})"
            for one in error.problems
        ]
    return []


def process(*transforms: str, checks: str = "[]") -> str:
    """A step of transforms over ``a``."""
    lines = "\n".join(f"      - {one}" for one in transforms)
    return f"  b:\n    from: a\n    process:\n{lines}\n    checks: {checks}\n"


WRONG = {
    process("sql: SELECT n, mm FROM a"):
        ["4:24: a has no column 'mm' (did you mean 'm'?)"],
    process("sql: SELECT a.n FROM a JOIN f ON f.n = a.n AND f.wrd = 'x'"):
        ["4:58: f has no column 'wrd' (did you mean 'word'?)"],
    process("select: [n, mm]"): ["4:21: a has no column 'mm' (did you mean 'm'?)"],
    process("select: {exclude: [mm]}"): ["4:28: a has no column 'mm' (did you mean 'm'?)"],
    process("rename: {columns: {mm: x}}"): ["4:32: a has no column 'mm' (did you mean 'm'?)"],
    process("cast: {columns: {mm: date}}"): ["4:30: a has no column 'mm' (did you mean 'm'?)"],
    process("fill: {columns: {n: 0, mm: 0}}"): ["4:36: a has no column 'mm' (did you mean 'm'?)"],
    process("filter: n > 1 AND mm > 2"): ["4:27: a has no column 'mm' (did you mean 'm'?)"],
    process("deduplicate: [n, mm]"): ["4:26: a has no column 'mm' (did you mean 'm'?)"],
    process("deduplicate: {by: [n], order_by: [mm]}"):
        ["4:43: a has no column 'mm' (did you mean 'm'?)"],
    process("join: {of: a, input: f, by: [n, word]}"): ["4:41: a has no column 'word' (valid: k, m, n)"],
    process("join: {of: a, input: f, by: {k: x}}"): ["4:41: f has no column 'x' (valid: n, word)"],
    process("aggregate: {by: [mm], columns: {x: max(n)}}"):
        ["4:26: a has no column 'mm' (did you mean 'm'?)"],
    process("aggregate: {by: [m], columns: {x: max(nn), y: max(n)}}"):
        ["4:47: a has no column 'nn' (did you mean 'n'?)"],
    process("cast: {columns: {m: dat}}"): ["4:29: there is no type 'dat' (did you mean 'date'?)"],
    process("filter: {where: 'n > 1 AND', of: a}"):
        ["4:32: this is not SQL: something is missing near 'AND' (None)"],
    process("rename: {columns: {n: x}}", "filter: n > 1"): ["5:17: a has no column 'n' (valid: k, m, x)"],
    process("sql: SELECT n AS x FROM a", "sql: SELECT n FROM this"):
        ["5:21: this has no column 'n' (valid: x)"],
    process("python: {code: 'def transform(data): ...', returns: {x: integer}}", "select: [n]"):
        ["5:18: a has no column 'n' (valid: x)"],
    process("sql: SELECT a.*, f.* FROM a JOIN f ON true"):
        ["4:9: two columns of the result are named 'n' (name the columns one by one, or join with USING)"],
    process("select: [n]", checks="[{unique: [n, mm]}, {not_null: [k]}]"):
        ["5:27: b has no column 'mm' (valid: n)", "5:45: b has no column 'k' (valid: n)"],
    process("select: [n]", checks="[{between: {column: m, min: 1}}]"):
        ["5:33: b has no column 'm' (valid: n)"],
    process("select: [n]", checks="[{sql: n > 1 AND m = 2}, {sql: SELECT k FROM b}]"):
        ["5:30: b has no column 'm' (valid: n)", "5:51: b has no column 'k' (valid: n)"],
    process("select: [n]", checks="[{row_count: {min: 1, on_fail: quarantine}}]"):
        ["5:14: check row_count judges the whole result and can set no row aside (use on_fail: fail or warn)"],
    "  b:\n    analyze: regression\n    from: a\n    with: {target: nn, features: [m]}\n":
        ["4:20: a has no column 'nn' (did you mean 'n'?)"],
    "  b:\n    analyze: describe\n    from: a\n    with: {columns: [n, x]}\n":
        ["4:25: a has no column 'x' (valid: k, m, n)"],
    "  b:\n    store: postgres\n    from: [a, f]\n    with: {mode: upsert, key: [n, m]}\n":
        ["4:35: f has no column 'm' (valid: n, word)"],
    "  b:\n    store: files\n    from: f\n    with: {path: 'data://x', by: [wordy]}\n":
        ["4:35: f has no column 'wordy' (did you mean 'word'?)"],
    "  b: {analyze: correlation, from: a}\n  c:\n    present: report\n    with: {charts: [{table: {of: b}}, {bar: {of: b, x: a, y: rr}}]}\n":
        ["4:62: b has no column 'rr' (did you mean 'r'?)"],
    "  b: {analyze: describe, from: a}\n  c:\n    present: report\n    with: {charts: [{table: {of: b, sort: -meen}}]}\n":
        ["4:43: b has no column 'meen' (did you mean 'mean'?)"],
    "  b: {analyze: train, from: a, with: {target: n, features: [m]}}\n"
    "  c: {analyze: predict, from: a, with: {model: b, keep: [n]}}\n"
    "  d: {process: [{filter: prediction > m}], from: c}\n":
        ["3:39: c has no column 'm' (valid: n, prediction)"],
    "  b:\n    collect: files\n    with: {path: 'data://x.csv', select: [n], where: n > 1 AND m = 'x'}\n":
        ["3:64: what is read has no column 'm' (valid: n)"],
    "  b:\n    collect: sql\n    with:\n      connection: db\n      query: SELECT n FROM t\n      columns: {m: integer}\n":
        ["6:20: the query has no column 'm' (valid: n)"],
    "  b:\n    collect: sql\n    with:\n      connection: db\n      query: SELECT n FROM t\n      cursor: {column: m}\n":
        ["6:24: the query has no column 'm' (valid: n)"],
    "  b:\n    collect: rest\n    with: {connection: api, select: [n]}\n  c: {process: [{filter: m > 1}], from: b}\n":
        ["4:26: b has no column 'm' (valid: n)"],
}  # fmt: skip


@pytest.mark.parametrize("steps", WRONG)
def test_a_column_that_is_not_there_is_refused_where_it_stands(steps: str) -> None:
    assert problems(steps) == WRONG[steps]


RIGHT = [
    process('sql: SELECT N, A.m FROM a WHERE "K" > 1'),
    process("sql: {query: SELECT anything FROM o, of: a}"),
    process("sql: SELECT a.n, anything FROM a JOIN o USING (n)"),
    process("join: {input: o, by: [n]}", "filter: anything > 1"),
    "  b: {from: o, process: [{join: {input: a, by: [n]}}, {select: [anything, m]}]}\n",
    "  b: {from: o, process: [{rename: {columns: {x: y}}}, {filter: z > 1}, {deduplicate: {}}]}\n",
    "  b: {from: o, process: [{select: {exclude: [x]}}, {fill: {columns: {y: 0}}}], checks: [{unique: [z]}]}\n",
    "  b: {from: o, process: [{sql: SELECT * EXCLUDE (x) FROM o}, {cast: {columns: {y: date}}}]}\n",
    process("sql: SELECT count(*) FROM a", 'filter: "\\"count_star()\\" > 1"'),
    process("select: ['{{ params.column }}']", "filter: anything > 1"),
    process("sql: SELECT n FROM a WHERE k = {{ params.column }}", "filter: n > {{ params.least }}"),
    process("sql: WITH A AS (SELECT n AS x FROM f) SELECT x FROM a", "select: [x]"),
    "  b: {analyze: regression, from: a, with: {target: '{{ params.column }}', features: [m]}}\n",
    "  b: {analyze: describe, from: o, with: {columns: [x]}}\n",
    "  b: {store: postgres, from: [a, o], with: {mode: upsert, key: [n]}}\n",
    "  b: {present: report, with: {charts: [{bar: {of: a, x: '{{ params.column }}'}}, {number: {of: a}}]}}\n",
    "  b: {collect: sql, with: {connection: db, query: SELECT * FROM t, columns: {x: date}}}\n",
    "  b: {collect: sql, with: {connection: db, query: SELECT TOP 5 a FROM t, columns: {b: date}}}\n",
    "  b: {collect: files, with: {path: 'data://x.csv', where: 'm > {{ params.least }}'}}\n",
    "  b: {collect: files, with: {path: 'data://x.csv', select: [n], where: N > 1 OR data.n IN (SELECT 2 AS m)}}\n",
    "  b: {collect: files, with: {path: 'data://x.csv', select: [n], where: data.N > 1}}\n",
    "  b: {collect: rest, with: {connection: api}}\n  c: {from: b, process: [{filter: x > 1}]}\n",
]  # fmt: skip


@pytest.mark.parametrize("steps", RIGHT)
def test_what_may_be_there_is_not_refused(steps: str) -> None:
    assert problems(steps) == []


def test_what_an_open_step_leaves_behind_is_known_again() -> None:
    steps = "  b: {from: o, process: [{aggregate: {by: [x], columns: {y: count(*)}}}]}\n"
    after = "  c:\n    from: b\n    process: [{select: [x, z]}]\n"
    assert problems(steps + after) == ["4:28: b has no column 'z' (valid: x, y)"]


def test_each_plugins_first_mistake_is_told() -> None:
    steps = process("filter: mm > 1", "select: [n, m]", checks="[{unique: [q]}]")
    assert [one.split(":")[0] for one in problems(steps)] == ["4", "6"]


BLOCK = """  b:
    process:
      - sql: |
          -- mm is in a comment
          SELECT n,

            mm
          FROM a
      - sql: >-
          SELECT n
            AS x, nn FROM this
      - filter: "x = 'a''b'
          AND y > 1"
"""


def test_an_error_in_sql_of_several_lines_names_its_own_line_and_column() -> None:
    assert problems(BLOCK)[0] == "7:13: a has no column 'mm' (did you mean 'm'?)"
    named = problems(BLOCK.replace(" mm\n", " m\n"))
    assert named == ["11:19: this has no column 'nn' (did you mean 'n'?)"]
    assert problems(BLOCK.replace(" mm\n", " m\n").replace(", nn", ", m")) == [
        "13:15: this has no column 'y' (valid: m, x)"
    ]


def test_an_error_in_a_file_of_sql_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "b.sql").write_text("SELECT\n  n,\n  mm\nFROM a\n", encoding="utf-8")
    path = tmp_path / "w.yaml"
    path.write_text(HEAD + process("sql: {file: sql/b.sql}"), encoding="utf-8")
    for text, told in (
        ("SELECT\n  n,\n  mm\nFROM a\n", "sql/b.sql:3:3: a has no column 'mm' (did you mean 'm'?)"),
        ("SELECT n\nFROM a WHERE WHERE\n", "sql/b.sql:2:14: this is not SQL: something is missing near 'WHERE'"),
        ("SELECT n FROM a, read_csv('x')", "sql/b.sql:1:18: the function read_csv is not allowed"),
    ):  # fmt: skip
        (tmp_path / "sql" / "b.sql").write_text(text, encoding="utf-8")
        with pytest.raises(WorkflowError) as caught:
            load(path)
        assert str(caught.value).startswith(told)


def test_the_stage_gets_the_code_as_it_stands_in_the_files() -> None:
    origin = read(process("sql: SELECT n FROM a", "filter: n > 1")).steps["b"].origin
    assert origin is not None
    assert {key: (one.line - LINE + 1, one.column, one.text) for key, one in origin.texts.items()} == {
        "do/0/query": (4, 14, "SELECT n FROM a"), "do/1/where": (5, 17, "n > 1"),
    }  # fmt: skip


def test_what_only_the_data_tells_is_refused_at_its_place_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.csv").write_text("n,m\n1,2\n", encoding="utf-8")
    (tmp_path / "b.sql").write_text("-- of mm\nselect n,\n  mm from o\n", encoding="utf-8")
    path = tmp_path / "w.yaml"
    path.write_text(
        "steps:\n  o: {collect: files, with: {path: 'data://x.csv'}}\n"
        "  b: {process: [{sql: {file: b.sql}}]}\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("ROPEWALK_ROOT_DATA", str(tmp_path))
    console = Console(quiet=True)
    with pytest.raises(ConfigError) as caught:
        run_workflow(load(path), None, {}, store=tmp_path / "state", refresh=False, console=console)
    assert str(caught.value) == "b.sql:3:3: o has no column 'mm' (did you mean 'm'?)"


@pytest.mark.parametrize(
    "process",
    [
        "filter: 'n   >  0 /* why */ and   mm>1'",
        "filter: n>0   and   mm>1",
        "filter: {where: 'n is not null and mm is null'}",
        "aggregate: {columns: {x: 'sum(  n  )', y: 'sum(  mm  )'}}",
    ],
)
def test_a_place_in_an_expression_is_the_files_however_the_key_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: str
) -> None:
    (tmp_path / "x.csv").write_text("n,m\n1,2\n", encoding="utf-8")
    path = tmp_path / "w.yaml"
    path.write_text(
        "steps:\n  o: {collect: files, with: {path: 'data://x.csv'}}\n  b:\n    from: o\n"
        f"    # the transforms\n    process:\n      - {process}\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("ROPEWALK_ROOT_DATA", str(tmp_path))
    console = Console(quiet=True)
    with pytest.raises(ConfigError) as caught:
        run_workflow(load(path), None, {}, store=tmp_path / "state", refresh=False, console=console)
    at = f"      - {process}".index("mm") + 1
    assert str(caught.value) == f"w.yaml:7:{at}: o has no column 'mm' (did you mean 'm'?)"
