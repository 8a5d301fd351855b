"""Where in the workflow file a plugin's SQL stands, so that an error in it names file, line and column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.models import Origin


@dataclass(frozen=True)
class Place:
    """The options of one plugin; ``key`` is ``do/0`` or ``checks/1``, as in `Origin.places`.

    Where the workflow file's places have ``do/0/query`` too, that is where the option's text begins.
    """

    origin: Origin | None = None
    key: str = "do/0"

    def error(self, detail: str, *, code: str, hint: str | None = None) -> ConfigError:
        """An error in the options."""
        return ConfigError(detail, code=code, hint=hint, **self._parts(self._of(self.key)))

    def error_in(
        self, text: str, offset: int | None, detail: str, *, code: str, hint: str | None = None
    ) -> ConfigError:
        """An error at a character of an option's SQL, where it is known; its detail says where in the SQL."""
        if offset is None:
            return self.error(detail, code=code, hint=hint)
        line = text.count("\n", 0, offset)
        column = offset - (text.rfind("\n", 0, offset) + 1)
        where = f" at line {line + 1}, column {column + 1} of the SQL" if "\n" in text else ""
        return ConfigError(
            detail + where, code=code, hint=hint, **self._parts(self._inside(text, line, column))
        )

    def _inside(self, text: str, line: int, column: int) -> tuple[int | None, int | None]:
        exact, _ = begin = self._of(f"{self.key}/query")
        if exact is not None:
            return exact + line, None if begin[1] is None else begin[1] + column
        first, at = self._of(self.key)
        if first is None or "\n" not in text.rstrip():
            return first, at
        return first + 1 + line, None  # a block begins on the line after its plugin's name

    def _of(self, key: str) -> tuple[int | None, int | None]:
        return self.origin.places.get(key, (None, None)) if self.origin else (None, None)

    def _parts(self, at: tuple[int | None, int | None]) -> dict[str, Any]:
        return {"file": self.origin.file, "line": at[0], "column": at[1]} if self.origin else {}
