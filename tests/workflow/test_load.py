"""Every mistake in a workflow file is told with file, line, column, and the nearest valid name."""

from __future__ import annotations

from pathlib import Path

import pytest
from ropewalk.contracts.models import RunInfo
from ropewalk.workflow import WorkflowError, load, loads, task_request

FILE = """title: t
start: 2013-01-01
partition: day
params: {least: {type: integer, default: 1}}
steps:
  a:
    collect: sql
    with: {connection: db, query: SELECT 1 AS n}
  b:
    process:
      - sql: SELECT n FROM a WHERE n > {{ params.least }}
    checks:
      - unique: [n]
  c:
    store: postgres
    from: b
    with: {schema: s}
"""
SQL = "SELECT n FROM a WHERE n > {{ params.least }}"
MISTAKES = [
    (
        "an unknown plugin",
        FILE.replace("collect: sql", "collect: sqll"),
        "w.yaml:7:14: there is no source 'sqll' (did you mean 'sql'?)",
    ),
    (
        "an unknown stage word",
        FILE.replace("    collect: sql", "    colect: sql"),
        "w.yaml:7:13: step 'a' has no stage word (did you mean 'collect'?)",
    ),
    (
        "two stage words",
        FILE.replace("    store: postgres", "    store: postgres\n    analyze: describe"),
        "w.yaml:16:14: a step has one stage word, not store and analyze",
    ),
    (
        "an unknown key of a step",
        FILE.replace("    from: b", "    form: b"),
        "w.yaml:16:11: a step has no key 'form' (did you mean 'from'?)",
    ),
    (
        "an unknown key of the file",
        FILE.replace("start:", "strat:"),
        "w.yaml:2:8: there is no key 'strat' here (did you mean 'start'?)",
    ),
    (
        "an unknown key within",
        FILE + "retries: {atempts: 3}\n",
        "w.yaml:18:20: there is no key 'atempts' here (did you mean 'attempts'?)",
    ),
    (
        "an unknown step in SQL",
        FILE.replace("FROM a", "FROM aa"),
        "w.yaml:11:9: there is no step 'aa' (did you mean 'a'?)",
    ),
    (
        "an unknown step in from",
        FILE.replace("from: b", "from: bb"),
        "w.yaml:16:11: there is no step 'bb' (did you mean 'b'?)",
    ),
    (
        "an unknown step in an option",
        FILE.replace("{schema: s}", "{tables: {bb: sums}}"),
        "w.yaml:17:25: there is no step 'bb' (did you mean 'b'?)",
    ),
    (
        "a cycle",
        FILE.replace(
            "query: SELECT 1 AS n}",
            "query: SELECT 1 AS n}\n  x:\n    process: [{sql: SELECT * FROM y}]\n  y:\n    process: [{sql: SELECT * FROM x}]",
        ),
        "w.yaml:9:3: the steps run in a circle: x → y → x",
    ),
    (
        "a step that reads itself",
        FILE.replace("FROM a", "FROM b"),
        "w.yaml:9:3: the steps run in a circle: b → b",
    ),
    (
        "a key twice",
        FILE + "title: again\n",
        "w.yaml:18:1: 'title' is there twice: it stands on line 1 already",
    ),
    (
        "a step twice",
        FILE + "  a:\n    collect: sql\n",
        "w.yaml:18:3: 'a' is there twice: it stands on line 6 already",
    ),
    (
        "a NUL",
        FILE + 'description: "a\\0b"\n',
        "w.yaml:18:14: a text may have no NUL character in it",
    ),
    (
        "a tab",
        "steps:\n\t a: 1\n",
        "w.yaml:2:1: this is not YAML: found character that cannot start any token while scanning for the next token (indent with spaces, not with tabs)",
    ),
    ("no mapping", "- 1\n", "w.yaml:1:1: a workflow file is a mapping that has steps"),
    ("nothing at all", "", "w.yaml:1:1: a workflow file is a mapping that has steps"),
    ("no steps", "title: x\n", "w.yaml:1:1: the key 'steps' is missing"),
    (
        "an unknown option",
        FILE.replace("schema: s", "schemas: s"),
        "w.yaml:17:21: sink 'postgres' has no option 'schemas' (did you mean 'schema'?)",
    ),
    (
        "a wrong value of an option",
        FILE.replace("schema: s", "mode: apend"),
        "w.yaml:17:18: sink 'postgres', option 'mode': Input should be 'append', 'replace_partition', 'upsert' or 'replace'",
    ),
    (
        "a missing option",
        FILE.replace("connection: db, ", ""),
        "w.yaml:8:5: source 'sql' needs option 'connection'",
    ),
    (
        "no SQL",
        FILE.replace("SELECT n FROM a", "SELEC n FROM a"),
        "w.yaml:11:22: this is not SQL: Invalid expression / Unexpected token near 'FROM'",
    ),
    (
        "two statements",
        FILE.replace(f"- sql: {SQL}", "- sql: SELECT 1; SELECT 2"),
        "w.yaml:11:14: this is not one statement (write one SELECT)",
    ),
    (
        "an unknown value",
        FILE.replace("params.least", "params.leest"),
        "w.yaml:11:14: unknown value {{ params.leest }} (did you mean 'params.least'?)",
    ),
    (
        "a secret",
        FILE.replace("params.least", "secrets.x"),
        "w.yaml:11:14: unknown value {{ secrets.x }} (valid: params.least, partition.date, partition.end, partition.month, partition.name, partition.start, partition.year, run.id)",
    ),
    (
        "no date",
        FILE.replace("2013-01-01", "2013-13-01"),
        "w.yaml:2:8: Input should be a valid date or datetime, month value is outside expected range of 1-12",
    ),
    (
        "no time zone",
        FILE + "timezone: Europe/Brlin\n",
        "w.yaml:18:11: there is no time zone 'Europe/Brlin' (did you mean 'Europe/Berlin'?)",
    ),
    (
        "no grain",
        FILE.replace("partition: day", "partition: dya"),
        "w.yaml:3:12: Input should be 'hour', 'day', 'week' or 'month'",
    ),
    (
        "no schedule",
        FILE + "schedule: every day\n",
        "w.yaml:18:11: 'every day' is no schedule: write cron's five fields, or one of @hourly, @daily, @weekly, @monthly, @quarterly, @yearly, @once, @continuous",
    ),
    (
        "a default of another type",
        FILE.replace("default: 1", "default: one"),
        "w.yaml:4:10: 'one' is not of type integer",
    ),
    (
        "an unknown check",
        FILE.replace("- unique", "- uniqe"),
        "w.yaml:13:9: there is no check 'uniqe' (did you mean 'unique'?)",
    ),
    (
        "a wrong on_fail",
        FILE.replace("- unique: [n]", "- unique: {columns: [n], on_fail: ignore}"),
        "w.yaml:13:41: check 'unique', option 'on_fail': Input should be 'fail', 'warn' or 'quarantine'",
    ),
    (
        "an unknown transform",
        FILE.replace("- sql: SELECT", "- sqll: SELECT"),
        "w.yaml:11:15: there is no transform 'sqll' (did you mean 'sql'?)",
    ),
    (
        "reading what has no data",
        FILE.replace("from: b", "from: b").replace(
            "steps:", "steps:\n  d:\n    process: [{sql: SELECT * FROM c}]"
        ),
        "w.yaml:7:15: step 'c' has no data to read: it is a store step",
    ),
    (
        "a step that reads nothing",
        FILE.replace(SQL, "SELECT 1 AS n"),
        "w.yaml:9:3: step 'b' reads no step (add from:)",
    ),
    (
        "a bomb of aliases",
        "a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "\n".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]" for i in range(7)
        )
        + "\nsteps: {}\n",
        "w.yaml:1:4: the file is too large: its aliases explode, or it nests too deep",
    ),
    (
        "no name",
        FILE.replace("  c:\n", "  C-1:\n"),
        "w.yaml:14:3: 'C-1' is not a name: small letters, digits and _",
    ),
    (
        "a file outside",
        FILE.replace(f"- sql: {SQL}", "- sql: {file: ../../etc/passwd}"),
        "w.yaml:11:21: the file '../../etc/passwd' lies outside of the workflow's folder",
    ),
    (
        "no limit",
        FILE.replace("    from: b", "    from: b\n    max_quarantined: many"),
        "w.yaml:17:22: max_quarantined is rows or percent, not 'many' (write 100 or 1%)",
    ),
    (
        "no length of time",
        FILE.replace("    from: b", "    from: b\n    timeout: soon"),
        "w.yaml:17:14: a length of time is written 30s, 5m, 2h or 1d",
    ),
    (
        "an end before the start",
        FILE + "end: 2012-01-01\n",
        "w.yaml:1:1: end 2012-01-01 is before start 2013-01-01",
    ),
    (
        "partitions without a start",
        FILE.replace("start: 2013-01-01\n", ""),
        "w.yaml:1:1: a workflow with partitions needs a start: the first day",
    ),
    (
        "no delay",
        FILE + "retries: {delay: soon}\n",
        "w.yaml:18:18: a length of time is written 30s, 5m, 2h or 1d",
    ),
    (
        "options of a process step",
        FILE.replace("    process:\n", "    with: {engine: spark}\n    process:\n"),
        "w.yaml:10:5: each transform has its own options (- filter: {where: …})",
    ),
    (
        "a source that reads a step",
        FILE.replace("    collect: sql\n", "    collect: sql\n    from: b\n"),
        "w.yaml:8:11: a collect step reads no other step",
    ),
    (
        "a step named this",
        FILE.replace("  c:\n", "  this:\n"),
        "w.yaml:14:3: a step cannot be named 'this': in SQL it is the result of the transform before",
    ),
    (
        "a reference where there are no values",
        FILE.replace("    from: b", "    from: b\n    description: of {{ partition.date }}"),
        "w.yaml:17:18: description cannot hang on a value: {{ … }} stands in options and in SQL",
    ),
    (
        "a reference in the title",
        FILE.replace("title: t", "title: t {{ run.id }}"),
        "w.yaml:1:8: title cannot hang on a value: {{ … }} stands in options and in SQL",
    ),
    (
        "a reference without quotes",
        FILE.replace("{schema: s}", "{schema: {{ run.id }}}"),
        'w.yaml:17:21: merge keys and keys that are not words are not allowed (write "{{ … }}" in quotes)',
    ),
    (
        "two inputs into one table",
        FILE.replace(
            "from: b\n    with: {schema: s}", "from: [a, b]\n    with: {schema: s, tables: {a: b}}"
        ),
        (
            "w.yaml:17:23: 'a' and 'b' go to one table, postgres://results/s.b"
            " (UNION them in a process step, or name another table)"
        ),
    ),
    (
        "a cursor over one range",
        (
            "start: 2013-01-01\nend: 2013-12-31\nsteps:\n  a:\n    collect: sql\n"
            "    with: {connection: db, table: t, cursor: {column: id}}\n"
        ),
        (
            "w.yaml:6:38: a cursor reads on from run to run, but from start to end this workflow is one range"
            " (leave out end, or add partition: day)"
        ),
    ),
    (
        "a cursor past the rows of other partitions",
        (
            "partition: day\nstart: 2013-01-01\nsteps:\n  a:\n    collect: sql\n"
            "    with: {connection: db, table: t, partition_by: at, cursor: {column: id}}\n"
        ),
        "w.yaml:6:5: source 'sql': a cursor goes past what is of another partition: give partition_by or cursor",
    ),
    (
        "a schedule after itself",
        FILE + "schedule: {after: [v, w]}\n",
        "w.yaml:18:23: a workflow cannot be scheduled after itself",
    ),
    (
        "a cron that never comes",
        FILE + "schedule: 0 24 * * *\n",
        "w.yaml:18:11: '0 24 * * *' is no schedule: write cron's five fields, or one of @hourly, @daily, @weekly, @monthly, @quarterly, @yearly, @once, @continuous",
    ),
    (
        "a negative limit",
        FILE.replace("    from: b", "    from: b\n    max_quarantined: -1"),
        "w.yaml:17:22: max_quarantined is rows or percent, not -1 (write 100 or 1%)",
    ),
    (
        "more than all",
        FILE.replace("    from: b", "    from: b\n    max_quarantined: 101%"),
        "w.yaml:17:22: max_quarantined is rows or percent, not '101%' (write 100 or 1%)",
    ),
    (
        "a time before now",
        FILE.replace("    from: b", "    from: b\n    timeout: -5"),
        "w.yaml:17:14: a length of time is written 30s, 5m, 2h or 1d",
    ),
    (
        "no regular expression",
        FILE.replace("{type: integer, default: 1}", "{pattern: '['}"),
        "w.yaml:4:27: '[' is no regular expression: unterminated character set at position 0",
    ),
    (
        "bounds that nothing fits",
        FILE.replace("default: 1", "default: 1, minimum: 2, maximum: 1"),
        "w.yaml:4:10: minimum 2 is more than maximum 1",
    ),
    (
        "a statement that writes",
        FILE.replace(SQL, "DELETE FROM a"),
        "w.yaml:11:14: this is not a SELECT (write one SELECT)",
    ),
]


def test_the_file_without_mistakes() -> None:
    workflow = loads(FILE, Path("w.yaml"))
    assert {name: step.needs for name, step in workflow.steps.items()} == {
        "a": (), "b": ("a",), "c": ("b",),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"), [one[1:] for one in MISTAKES], ids=[one[0] for one in MISTAKES]
)
def test_a_mistake(text: str, said: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        loads(text, Path("w.yaml"))
    assert str(caught.value) == said


def test_all_mistakes_are_told_at_once_in_their_order() -> None:
    text = FILE.replace("collect: sql", "collect: sqll").replace("- unique", "- uniqe")
    with pytest.raises(WorkflowError) as caught:
        loads(text.replace("schema: s", "schemas: s"), Path("w.yaml"))
    assert [problem.line for problem in caught.value.problems] == [7, 13, 17]


def test_sql_from_a_file_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "b.sql").write_text("SELECT n FROM a", encoding="utf-8")
    path = tmp_path / "w.yaml"
    path.write_text(FILE.replace(f"sql: {SQL}", "sql: {file: b.sql}"), encoding="utf-8")
    assert load(path).steps["b"].needs == ("a",)
    path.write_text(FILE.replace(f"sql: {SQL}", "sql: {file: bb.sql}"), encoding="utf-8")
    with pytest.raises(WorkflowError) as caught:
        load(path)
    assert str(caught.value) == (
        "w.yaml:11:21: there is no file 'bb.sql' beside the workflow (did you mean 'b.sql'?)"
    )


@pytest.mark.parametrize("data", [b"\xff\xfe", None])
def test_a_file_that_cannot_be_read(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "w.yaml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(WorkflowError, match="the file cannot be read"):
        load(path)


@pytest.mark.parametrize(
    ("query", "needs"),
    [
        ("SELECT * FROM a JOIN d USING (n)", ("a", "d")),
        ("WITH d AS (SELECT 1 AS n FROM a) SELECT * FROM d", ("a",)),
        ('SELECT * FROM "a" WHERE n IN (SELECT n FROM d)', ("a", "d")),
        ("SELECT (SELECT max(n) FROM d) AS n FROM a", ("d", "a")),
        ("SELECT * FROM a UNION ALL SELECT * FROM d", ("a", "d")),
    ],
)  # fmt: skip
def test_what_a_query_reads_is_read_from_the_query(query: str, needs: tuple[str, ...]) -> None:
    more = "  d:\n    collect: sql\n    with: {connection: db, query: SELECT 1 AS n}\n"
    text = FILE.replace(SQL, query).replace("steps:\n", f"steps:\n{more}")
    assert set(loads(text, Path("w.yaml")).steps["b"].needs) == set(needs)


def test_braces_in_python_are_its_own() -> None:
    code = 'def transform(data, x):\n            names = {"a": {"b": 1}}\n            return f"{{x}} {names}"'
    text = FILE.replace(
        f"- sql: {SQL}",
        f"- python:\n          code: |\n            {code}\n          returns: {{n: integer}}\n          args: {{x: '{{{{ params.least }}}}'}}",
    ).replace("    process:", "    from: a\n    process:")
    workflow = loads(text, Path("w.yaml"))
    request = task_request(workflow, workflow.steps["b"], run=RunInfo(id="r"), partition=None)
    assert request.do[0].options["code"].replace(" ", "") == code.replace(" ", "") + "\n"
    assert request.values == {"params.least": 1}


@pytest.mark.parametrize("cron", ["*/5 0-23 1,15 JAN-MAR MON-FRI", "0 0 * * 7", "30 4 L * ?"])
def test_what_cron_allows(cron: str) -> None:
    assert loads(FILE + f'schedule: "{cron}"\n', Path("w.yaml")).header.schedule == cron


@pytest.mark.parametrize("source", ["rest", "sql"])
@pytest.mark.parametrize("overlap", ["2x", "-1", "true", "[1]"])
def test_a_length_that_is_none_is_told_as_people_write_it(source: str, overlap: str) -> None:
    of = {"rest": "field: n, param: since", "sql": "column: n"}[source]
    text = f"title: t\nsteps:\n  a: {{collect: {source}, with: {{connection: c, cursor: {{{of}, overlap: {overlap}}}}}}}\n"
    with pytest.raises(WorkflowError) as caught:
        loads(text, Path("w.yaml"))
    (problem,) = caught.value.problems
    assert problem.line == 3
    assert problem.detail.endswith("'cursor.overlap': a length is written 2h or, of numbers, 100")
