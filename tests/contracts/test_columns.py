"""Options say which of their values name columns."""

from __future__ import annotations

import pytest
from ropewalk.contracts.columns import ColumnName, SortedBy, check_named, named
from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.plugins import PluginOptions


class Options(PluginOptions):
    """Columns of every shape."""

    x: ColumnName
    y: ColumnName | None = None
    many: list[ColumnName] | None = None
    sort: SortedBy | None = None
    word: str = "nothing"


ALL = Options(x="a", many=["b", "C"], sort="-d")


def test_the_columns_that_options_name_are_told_with_their_places() -> None:
    assert list(named(ALL)) == [("x", "a"), ("many.0", "b"), ("many.1", "C"), ("sort", "d")]


def test_those_that_are_there_in_whatever_case_or_may_be_there_are_not_refused() -> None:
    check_named(ALL, ("A", "b", "c", "d"), "step")
    check_named(ALL, None, "step")


def test_one_that_is_not_there_is_refused_with_its_place_and_the_nearest_name() -> None:
    with pytest.raises(ConfigError) as caught:
        check_named(ALL, ("a", "b", "cc", "d"), "step")
    assert (str(caught.value), caught.value.field) == (
        "step has no column 'C' (valid: a, b, cc, d)", "many.1",
    )  # fmt: skip
