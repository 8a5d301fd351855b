"""What a user's SQL may be, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.models import Origin, Written
from ropewalk.process.sql import canonical
from ropewalk.process.sql import tables as read_tables
from ropewalk.testing.transforms import ProcessBench, tables

from tests.kernel.test_duck import DOORS, WALLS

INPUTS = tables(
    {"flights": [{"carrier": "UA", "dep_delay": 1}], "planes": [{"tailnum": "a", "seats": 1}]}
)
GATE = {"not_a_select", "unknown_table", "forbidden_function", "sql_syntax"}
REFUSED = {
    "SELECT dep_dlay FROM flights": "flights has no column 'dep_dlay' (did you mean 'dep_delay'?)",
    "SELECT f.seat FROM flights f, planes p": "flights has no column 'seat' (valid: carrier, dep_delay)",
    "SELECT seat FROM flights f, planes p": "flights or planes have no column 'seat' (did you mean 'seats'?)",
    "SELECT x.a FROM flights f": "there is no table or column 'x' in FROM (valid: f)",
    "SELECT * FROM flight": "there is no input 'flight' (did you mean 'flights'?)",
    "SELECT * FROM main.flights": "there is no input 'main.flights' (did you mean 'flights'?)",
    "SELECT * FROM '/etc/passwd'": "there is no input '/etc/passwd' (valid: flights, planes)",
    "SELECT * FROM information_schema.tables":
        "there is no input 'information_schema.tables' (valid: flights, planes)",
    "SELECT 1 AS a FROM flights; DROP TABLE flights": "this is not one statement (write one SELECT)",
    "DROP TABLE flights": "this is not a SELECT (write one SELECT)",
    "COPY flights TO '/tmp/x'": "this is not a SELECT (write one SELECT)",
    "ATTACH '/tmp/x'": "this is not a SELECT (write one SELECT)",
    "PRAGMA version": "this is not a SELECT (write one SELECT)",
    "SET threads = 9": "this is not a SELECT (write one SELECT)",
    "VALUES (1)": "this is not a SELECT (write one SELECT)",
    "": "this is not one statement (write one SELECT)",
    "WITH x AS (DELETE FROM flights RETURNING *) SELECT * FROM x":
        "DELETE is not allowed (a transform only reads: write one SELECT)",
    "SELECT carrier INTO x FROM flights": "INTO is not allowed (a transform only reads: write one SELECT)",
    "SELECT * FROM read_csv('/etc/passwd')":
        "the function read_csv is not allowed "
        "(SQL reads the step's inputs; files and databases are read by a collect step)",
    "SELECT * FROM glob('/*')":
        "the function glob is not allowed "
        "(SQL reads the step's inputs; files and databases are read by a collect step)",
    "SELECT * FROM query('SELECT 1')":
        "the function query is not allowed "
        "(SQL reads the step's inputs; files and databases are read by a collect step)",
    "SELECT random() FROM flights":
        "the function random is not allowed (a step's result must follow from its inputs alone)",
    "SELECT current_setting('memory_limit') FROM flights":
        "the function current_setting is not allowed (a step's result must follow from its inputs alone)",
    "SELECT $x FROM flights": "the SQL has a parameter $x of its own (write {{ params.name }})",
    "SELECT '{{ params.x }}' FROM flights":
        "a {{ … }} stands inside quotes or a comment (write it without quotes: it is bound as a value)",
    "SELECT a b c FROM flights": "this is not SQL: Invalid expression / Unexpected token near 'c'",
    "SELECT 1 AS a, 2 AS A FROM flights":
        "two columns of the result are named 'a' (name the columns one by one, or join with USING)",
    "SELECT nope(carrier) FROM flights": "Scalar Function with name nope does not exist",
}  # fmt: skip


@pytest.mark.parametrize("query", REFUSED)
def test_what_is_refused_and_why(bench: ProcessBench, query: str) -> None:
    with pytest.raises(ConfigError) as caught:
        bench.run([("sql", query)], INPUTS, values={"params.x": 1})
    assert str(caught.value) == REFUSED[query]


@pytest.mark.parametrize(
    "query",
    [
        *DOORS,
        *WALLS,
        "COPY flights TO '{tmp}/scratch/x.csv'",
        "SELECT carrier FROM flights; COPY flights TO '{tmp}/scratch/x.csv'",
        "WITH x AS (COPY flights TO '{tmp}/scratch/x.csv') SELECT * FROM x",
        "SELECT (COPY flights TO '{tmp}/scratch/x.csv') FROM flights",
        "SELECT carrier FROM flights WHERE carrier IN (FROM '{tmp}/scratch/x.csv')",
        "SELECT (SELECT file FROM glob('{tmp}/scratch/*') LIMIT 1) FROM flights",
        "SELECT carrier FROM flights, LATERAL (SELECT * FROM read_csv('{tmp}/scratch/x.csv'))",
    ],
)
def test_nothing_of_it_gets_to_duckdb(bench: ProcessBench, tmp_path: Path, query: str) -> None:
    """Not even to the spill folder, which DuckDB's own lock leaves open: what stands before it says no."""
    with pytest.raises(ConfigError) as caught:
        bench.run([("sql", query.replace("{tmp}", str(tmp_path)))], INPUTS)
    assert caught.value.code in GATE


BLOCK = "SELECT carrier,\n       {{ params.x }} + dep_dlay AS d\nFROM flights\n"


def test_an_error_in_a_block_names_its_plugin_and_the_line_of_the_sql(bench: ProcessBench) -> None:
    origin = Origin(file="w.yaml", places={"do/0": (12, 9)})
    with pytest.raises(ConfigError) as caught:
        bench.run([("sql", BLOCK)], INPUTS, origin=origin, values={"params.x": 1})
    assert str(caught.value) == (
        "w.yaml:12:9: flights has no column 'dep_dlay' at line 2, column 25 of the SQL"
        " (did you mean 'dep_delay'?)"
    )
    assert caught.value.step == "made"


WRITTEN = """|
          -- no dep_dlay here
          select carrier,
            {{params.x}}+dep_dlay as d
          from flights
"""


def test_an_error_names_the_line_and_column_of_the_file_that_the_sql_was_made_of(
    bench: ProcessBench,
) -> None:
    text = Written(file="w.yaml", line=12, column=16, text=WRITTEN)
    origin = Origin(file="w.yaml", places={"do/0": (12, 9)}, texts={"do/0/query": text})
    with pytest.raises(ConfigError) as caught:
        bench.run([("sql", BLOCK)], INPUTS, origin=origin, values={"params.x": 1})
    assert str(caught.value) == (
        "w.yaml:15:26: flights has no column 'dep_dlay' (did you mean 'dep_delay'?)"
    )


def test_an_error_in_one_line_names_the_plugins_place(bench: ProcessBench) -> None:
    origin = Origin(file="w.yaml", places={"do/1": (12, 9)})
    do = [("sql", "SELECT * FROM flights"), ("filter", "dep_dlay > 1")]
    with pytest.raises(ConfigError) as caught:
        bench.run(do, INPUTS, origin=origin)
    assert (
        str(caught.value)
        == "w.yaml:12:9: this has no column 'dep_dlay' (did you mean 'dep_delay'?)"
    )


def test_partition_bounds_are_instants_and_texts_are_values(bench: ProcessBench) -> None:
    values = {
        "partition.start": "2013-01-01T05:00:00+00:00",
        "params.who": "x'; DROP TABLE flights; --",
    }
    query = "SELECT typeof({{ partition.start }}) AS t, {{ params.who }} AS w FROM flights"
    report = bench.run([("sql", query)], INPUTS, values=values)
    assert bench.rows(report) == [
        {"t": "TIMESTAMP WITH TIME ZONE", "w": "x'; DROP TABLE flights; --"}
    ]


def test_a_cte_may_have_an_inputs_name(bench: ProcessBench) -> None:
    query = "WITH flights AS (SELECT dep_delay + 1 AS d FROM flights) SELECT * FROM flights"
    report = bench.run([("filter", {"where": "true", "of": "flights"}), ("sql", query)], INPUTS)
    assert bench.rows(report) == [{"d": 2}]


def test_a_128_bit_sum_is_a_64_bit_integer_and_an_error_where_it_does_not_fit(
    bench: ProcessBench,
) -> None:
    report = bench.run([("sql", "SELECT sum(dep_delay) AS s FROM flights")], INPUTS)
    assert [column.type for column in report.columns["data"]] == ["int64"]
    big = tables({"flights": [{"n": 2**62}] * 2})
    with pytest.raises(Exception, match="out of range for the destination type INT64"):
        bench.run([("sql", "SELECT sum(n) AS s FROM flights")], big)


def test_the_inputs_of_a_query_are_its_tables_in_their_order() -> None:
    query = "WITH x AS (SELECT * FROM b) SELECT * FROM this JOIN x ON true JOIN a ON a.t >= {{ partition.start }}"
    assert set(read_tables(query)) == {"a", "b"}
    assert read_tables("SELECT 1 FROM c JOIN a USING (x) JOIN c AS d USING (x)") == ("c", "a")


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("select  a ,sum( b ) from t group by 1 -- c", "SELECT a, SUM(b) FROM t GROUP BY 1"),
        ("select a from t where x>={{params.x}}", "SELECT a FROM t WHERE x >= {{ params.x }}"),
        ("select v::decimal(9,2) v from t", "SELECT CAST(v AS DECIMAL(9, 2)) AS v FROM t"),
        ("select date_trunc('hour', d) from t", "SELECT DATE_TRUNC('HOUR', d) FROM t"),
        ("select 'it''s', 1e3, \"at\" from t", "SELECT 'it''s', 1e3, \"at\" FROM t"),
        ("select k from t where k not in ('a','b')", "SELECT k FROM t WHERE NOT k IN ('a', 'b')"),
        (
            "select * from t left join u using(k) limit 9",
            "SELECT * FROM t LEFT JOIN u USING (k) LIMIT 9",
        ),
        (
            "select row_number() over (partition by k order by d desc) n from t qualify n=1",
            "SELECT ROW_NUMBER() OVER (PARTITION BY k ORDER BY d DESC) AS n FROM t QUALIFY n = 1",
        ),
        (
            "select date_trunc({{params.unit}}, d) from t",
            "SELECT DATE_TRUNC({{ params.unit }}, d) FROM t",
        ),
        ("n  >  0 -- c", "n > 0"),
        ("sum( m )", "SUM(m)"),
        (
            'd>={{partition.start}} and "N  n" is not null',
            'd >= {{ partition.start }} AND NOT "N  n" IS NULL',
        ),
        ("v::int in ( 1,2 )", "CAST(v AS INT) IN (1, 2)"),
        ("'$params_x'='a  b'", "'$params_x' = 'a  b'"),
    ],
)
def test_what_a_key_has_of_a_query_stays_as_it_is(written: str, kept: str) -> None:
    """A release of sqlglot that writes it otherwise has every step with SQL done again: that must be noticed."""
    assert canonical(written) == kept
    assert canonical(kept) == kept


EXPRESSIONS = [
    ("n", ">", "0"),
    ("sum", "(", "m", ")", "/", "count", "(", "*", ")"),
    ("s", "=", "'a  B'", "or", "s", "like", "'-- %'"),
    ('"a  B"', "is", "not", "null", "and", "not", "n", "in", "(", "1", ",", "2", ")"),
    ("d", "between", "{{ partition.start }}", "and", "{{ params.last }}"),
    (
        "case",
        "when",
        "n",
        "::",
        "double",
        "<>",
        "1.5",
        "then",
        "l",
        "[",
        "1",
        "]",
        "else",
        "-",
        "n",
        "end",
    ),
    ("select", "a", ",", "'x  y'", "as", "b", "from", "t", "where", "n", "<", "{{ params.n }}"),
]
GAPS = st.lists(
    st.sampled_from([" ", "\n", "\t", "/* a  b */", "-- it's\n"]), min_size=1, max_size=3
)


@given(st.sampled_from(EXPRESSIONS), st.data())
def test_what_stands_between_words_changes_no_key(
    tokens: tuple[str, ...], data: st.DataObject
) -> None:
    gaps = [" " + "".join(data.draw(GAPS)) for _ in tokens]
    loose = "".join(token + gap for token, gap in zip(tokens, gaps, strict=True))
    told = canonical(" ".join(tokens))
    assert canonical(loose) == told == canonical(told)
    assert canonical(" ".join(word.upper() if word.islower() and len(word) > 1 and word[0] not in "'{" else word
                              for word in tokens)) == told  # fmt: skip
    for token in tokens:
        if token[0] in "'\"{":
            assert token in told


@given(st.text("aB '-", max_size=6), st.text("aB '-", max_size=6))
def test_what_is_quoted_changes_the_key(one: str, other: str) -> None:
    texts = [canonical(f"s = '{text.replace(chr(39), chr(39) * 2)}'") for text in (one, other)]
    assert (texts[0] == texts[1]) == (one == other)


@pytest.mark.parametrize(
    "text", ["n = '{{ params.x }}'", "n > 1 -- {{ params.x }}", "n = $params_x"]
)
def test_a_reference_that_is_none_is_refused_however_a_key_has_it(
    bench: ProcessBench, text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        bench.run(
            [("filter", {"where": canonical(text)})],
            tables({"t": [{"n": "1"}]}),
            values={"params.x": 1},
        )
    assert caught.value.code in {"quoted_reference", "parameter"}
