"""Which columns there are, told before anything runs: of a plugin's options, and of what it reads.

``Columns`` are the names of all columns, or None where only the data can tell. A source or an analysis says
which it gives by a function ``columns(options, inputs)`` in its module; an option that names columns of what
the plugin reads is of type ``ColumnName``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import BaseModel

from ropewalk.contracts.errors import ConfigError, nearest

Columns = tuple[str, ...] | None


@dataclass(frozen=True)
class Named:
    """Marks a field of ``Options`` that names a column, or several; ``prefix`` may stand before each."""

    prefix: str = ""


ColumnName = Annotated[str, Named()]
SortedBy = Annotated[str, Named(prefix="-")]


def fold(name: str) -> str:
    """A name as SQL compares it: the case of A to Z alone does not matter."""
    if name.isascii():
        return name.lower()
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


def named(options: BaseModel) -> Iterator[tuple[str, str]]:
    """Every column that options name: where (``features.1``), and its name."""
    for field, info in type(options).model_fields.items():
        mark = next((one for one in _marks(info.metadata, info.annotation)), None)
        if mark is not None:
            yield from _names(info.alias or field, getattr(options, field), mark)


def check_named(options: BaseModel, columns: Columns, who: str) -> None:
    """ConfigError for a column that the options name and ``who`` does not have."""
    if columns is None:
        return
    known = {fold(name) for name in columns}
    for field, name in named(options):
        if fold(name) not in known:
            raise unknown_column(name, columns, who, field=field)


def unknown_column(name: str, columns: tuple[str, ...], who: str, *, field: str) -> ConfigError:
    """That ``who`` has no column of a name, with the nearest that it has."""
    return ConfigError(
        f"{who} has no column {name!r}",
        code="unknown_column",
        field=field,
        hint=nearest(name, columns),
    )


def _marks(metadata: Any, annotation: Any) -> Iterator[Named]:
    yield from (one for one in metadata if isinstance(one, Named))
    for part in get_args(annotation):
        if isinstance(part, Named):
            yield part
        else:
            yield from _marks((), part)


def _names(field: str, value: Any, mark: Named) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield field, value.removeprefix(mark.prefix)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _names(f"{field}.{index}", item, mark)
