"""The laws of a fingerprint."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ropewalk.kernel.fingerprint import Fingerprint, by_value, fingerprint

KINDS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.float64(): st.floats(allow_nan=True),
    pa.string(): st.text(),
    pa.binary(): st.binary(),
    pa.bool_(): st.booleans(),
    pa.timestamp("us", "UTC"): st.integers(0, 2**52),
    pa.date32(): st.dates(),
    pa.decimal128(20, 3): st.decimals(-(10**12), 10**12, places=3),
    pa.list_(pa.int64()): st.lists(st.one_of(st.none(), st.integers(-9, 9)), max_size=4),
    pa.struct([("a", pa.int64()), ("b", pa.string())]): st.fixed_dictionaries(
        {"a": st.one_of(st.none(), st.integers(-9, 9)), "b": st.text(max_size=3)}
    ),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Small tables of any types, with nulls."""
    kinds = draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=4))
    rows = draw(st.integers(0, 12))
    columns = [
        pa.array(
            draw(st.lists(st.one_of(st.none(), KINDS[kind]), min_size=rows, max_size=rows)), kind
        )
        for kind in kinds
    ]
    return pa.table(columns, names=[f"c{number}" for number in range(len(kinds))])


@given(table=tables(), random=st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(table: pa.Table, random: Random) -> None:
    order = random.sample(range(table.num_rows), table.num_rows)
    assert fingerprint(table.take(pa.array(order, pa.int64()))) == fingerprint(table)


@given(table=tables(), cut=st.integers(0, 12))
def test_the_size_of_batches_does_not_matter(table: pa.Table, cut: int) -> None:
    parts = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    assert fingerprint(parts) == fingerprint(table)
    assert fingerprint(parts.combine_chunks()) == fingerprint(table)


@given(table=tables())
def test_a_row_more_or_less_matters(table: pa.Table) -> None:
    if table.num_rows:
        assert fingerprint(table.slice(1)) != fingerprint(table)
        assert fingerprint(pa.concat_tables([table, table.slice(0, 1)])) != fingerprint(table)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.table({"a": [1, 2]}), pa.table({"a": [1, 3]})),
        (pa.table({"a": [1, 2]}), pa.table({"b": [1, 2]})),
        (pa.table({"a": [1, None]}), pa.table({"a": [1, 0]})),
        (pa.table({"a": ["", None]}), pa.table({"a": ["", ""]})),
        (pa.table({"a": [1], "b": [2]}), pa.table({"a": [2], "b": [1]})),
        (pa.table({"a": [1, 2], "b": [1, 2]}), pa.table({"a": [1, 2], "b": [2, 1]})),
        (pa.table({"a": [1.0]}), pa.table({"a": [1]})),
        (pa.table({"a": ["ab"], "b": ["c"]}), pa.table({"a": ["a"], "b": ["bc"]})),
        (pa.table({"a": ["x" * 8]}), pa.table({"a": ["x" * 8 + "\0"]})),
    ],
)
def test_different_content_has_different_fingerprints(one: pa.Table, other: pa.Table) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_a_fingerprint_is_the_same_on_every_machine() -> None:
    table = pa.table(
        {"n": pa.array([1, None, 3], pa.int64()), "s": ["a", "é", None], "f": [0.5, -0.0, None]}
    )
    assert fingerprint(table) == "e4b184a34d6c2b40be26c1876ce5c43a"


def test_of_no_rows_the_schema_counts() -> None:
    numbers, words = pa.schema([("a", pa.int64())]), pa.schema([("a", pa.string())])
    assert Fingerprint(numbers).hexdigest() != Fingerprint(words).hexdigest()


def test_a_number_is_the_same_by_value_whatever_its_type() -> None:
    whole = [3, None, -7, 2**53]
    kinds = (pa.int64(), pa.int32(), pa.float64(), pa.decimal128(20, 2), pa.decimal128(38, 10))
    found = [
        by_value(
            pa.array([one if kind != pa.int32() else one and one % 100 for one in whole], kind)
        )
        for kind in kinds
    ]
    assert all((one == found[0]).all() for one in (found[2], found[3], found[4]))
    assert (found[1][:2] == found[0][:2]).all()
    fractions = [Decimal("1.5"), Decimal("-0.25"), Decimal(2) ** 70]
    some, other = (by_value(pa.array(fractions, pa.decimal128(38, s))) for s in (2, 10))
    assert (some == other).all()
    assert len({*found[0], *some, *by_value(pa.array([2.0**70, 1e300, float("nan")]))}) == 10
