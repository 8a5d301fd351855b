"""The summaries behind `describe` and `correlation`, by DuckDB over the mapped Arrow; names are quoted by sqlglot."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ropewalk.analyze.columns import (
    check_columns,
    is_number,
    need_numbers,
    only_input,
    rounded,
    trace,
)
from ropewalk.kernel.duck import duck

if TYPE_CHECKING:
    from ropewalk.analyze.analyses.correlation import Options as Correlation
    from ropewalk.analyze.analyses.describe import Options as Describe
    from ropewalk.kernel.task import Task

DESCRIPTION = pa.schema(
    [
        ("column", pa.string()), ("type", pa.string()), ("rows", pa.int64()), ("nulls", pa.int64()),
        ("distinct_approx", pa.int64()), ("min", pa.string()), ("max", pa.string()), ("mean", pa.float64()),
        ("std", pa.float64()), ("q1", pa.float64()), ("median", pa.float64()), ("q3", pa.float64()),
        ("top", pa.string()),
    ]
)  # fmt: skip
PAIRS = pa.schema(
    [
        ("a", pa.string()),
        ("b", pa.string()),
        ("r", pa.float64()),
        ("n", pa.int64()),
        ("p", pa.float64()),
    ]
)


def describe(options: Describe, task: Task) -> pa.Table:
    """One row per column."""
    source, dataset = only_input(task)
    names = options.columns or dataset.schema.names
    check_columns(dataset, names, option="columns")
    kinds = {name: dataset.schema.field(name).type for name in names}
    with duck(task) as connection:
        connection.register("data", dataset.table())
        query = " UNION ALL ".join(
            _described(number, name, number_like=is_number(kind))
            for number, (name, kind) in enumerate(kinds.items())
        )
        found = connection.sql(
            f"SELECT * EXCLUDE place FROM ({query}) ORDER BY place"
        ).to_arrow_table()
    types = pa.array([str(kind) for kind in kinds.values()])
    trace(task, source, dict.fromkeys(DESCRIPTION.names, names))
    whole = found.append_column("type", types).select(DESCRIPTION.names).cast(DESCRIPTION)
    return _steady(whole, "mean", "std")


def correlation(options: Correlation, task: Task) -> pa.Table:
    """One row per pair, over the rows in which both have a value."""
    source, dataset = only_input(task)
    names = options.columns or [field.name for field in dataset.schema if is_number(field.type)]
    check_columns(dataset, names, option="columns")
    need_numbers(dataset, names, option="columns")
    with duck(task) as connection:
        connection.register("data", dataset.table())
        rows = [
            _pair(connection, a, b, ranks=options.method == "spearman")
            for a, b in combinations_with_replacement(names, 2)
            if a != b
        ]
    trace(task, source, dict.fromkeys(PAIRS.names, names))
    return _steady(pa.Table.from_pylist(rows, schema=PAIRS), "r", "p")


def _steady(table: pa.Table, *names: str) -> pa.Table:
    """The table with the digits that do not hang on the order of the rows."""
    for name in names:
        column = table[name].combine_chunks()
        values = rounded(np.asarray(column.fill_null(np.nan)))
        made = pa.array(values, pa.float64(), from_pandas=True)
        table = table.set_column(table.column_names.index(name), name, made)
    return table


def _described(place: int, name: str, *, number_like: bool) -> str:
    column = _quoted(name)
    spread = (
        f"avg({column}::DOUBLE) AS mean, stddev_samp({column}::DOUBLE) AS std,"
        f" quantile_cont({column}::DOUBLE, 0.25) AS q1, quantile_cont({column}::DOUBLE, 0.5) AS median,"
        f" quantile_cont({column}::DOUBLE, 0.75) AS q3"
        if number_like
        else "NULL::DOUBLE AS mean, NULL::DOUBLE AS std, NULL::DOUBLE AS q1, NULL::DOUBLE AS median, NULL::DOUBLE AS q3"
    )
    text = "'" + name.replace("'", "''") + "'"
    return (
        f'SELECT {place} AS place, {text} AS "column", count(*) AS rows, count(*) - count({column}) AS nulls,'
        f" approx_count_distinct({column}) AS distinct_approx, min({column})::VARCHAR AS min,"
        f" max({column})::VARCHAR AS max, {spread}, ({_commonest(column)}) AS top FROM data"
    )


def _commonest(column: str) -> str:
    """The value that is there most often; of several the least, whatever the order of the rows."""
    return (
        f"SELECT {column}::VARCHAR FROM data WHERE {column} IS NOT NULL"
        f" GROUP BY {column} ORDER BY count(*) DESC, {column} LIMIT 1"
    )


def _pair(connection: Any, a: str, b: str, *, ranks: bool) -> dict[str, Any]:
    """Pearson's r of two columns, or of their ranks (ties share the mean rank)."""
    x, y = f"{_quoted(a)}::DOUBLE", f"{_quoted(b)}::DOUBLE"
    rows = f"SELECT {x} AS x, {y} AS y FROM data WHERE {_quoted(a)} IS NOT NULL AND {_quoted(b)} IS NOT NULL"
    if ranks:
        rows = f"SELECT {_mean_rank('x')} AS x, {_mean_rank('y')} AS y FROM ({rows})"
    found = (
        connection.sql(f"SELECT corr(x, y) AS r, count(*) AS n FROM ({rows})")
        .to_arrow_table()
        .to_pylist()[0]
    )
    r, n = found["r"], found["n"]
    r = None if r is None or not np.isfinite(r) else r
    return {"a": a, "b": b, "r": r, "n": n, "p": _p_of(r, n)}


def _mean_rank(column: str) -> str:
    return f"(rank() OVER (ORDER BY {column}) + (count(*) OVER (PARTITION BY {column}) - 1) / 2.0)"


def _p_of(r: float | None, n: int) -> float | None:
    """The probability of as much correlation among unrelated columns, by Student's t."""
    from scipy.special import stdtr

    freedom = n - 2
    if r is None or freedom <= 0:
        return None
    if abs(r) >= 1:
        return 0.0
    return float(2 * stdtr(freedom, -abs(r) * np.sqrt(freedom / (1 - r * r))))


def _quoted(name: str) -> str:
    from sqlglot import exp

    return exp.to_identifier(name, quoted=True).sql(dialect="duckdb")
