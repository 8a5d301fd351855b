"""Where in the workflow file a plugin's SQL stands, so that an error in it names file, line and column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ropewalk.contracts.errors import ConfigError, TextError
from ropewalk.contracts.models import Origin
from ropewalk.contracts.places import place_in


@dataclass(frozen=True)
class Place:
    """The options of one plugin; ``key`` is ``do/0`` or ``checks/1``, as in `Origin.places`.

    Where the origin has the texts of its options (``do/0/query``), an error in one has its own line and column.
    """

    origin: Origin | None = None
    key: str = "do/0"

    def error(
        self, detail: str, *, code: str, hint: str | None = None, field: str | None = None
    ) -> ConfigError:
        """An error in the options; ``field`` is the one of them, or what stands there."""
        return ConfigError(detail, code=code, hint=hint, field=field, **self._plugin())

    def error_in(
        self, text: str, offset: int | None, detail: str, *, code: str, hint: str | None = None
    ) -> ConfigError:
        """An error at a character of an option's SQL: where the file has it, or else where in the SQL it is."""
        if offset is None:
            return self.error(detail, code=code, hint=hint)
        exact = self._exact(text, offset)
        return TextError(
            detail, text=text, offset=offset, where="" if exact else _within(text, offset),
            code=code, hint=hint, **(exact or self._plugin()),
        )  # fmt: skip

    def _exact(self, text: str, offset: int) -> dict[str, Any]:
        """The place in the file, where one of the plugin's texts has it."""
        for key, written in self.origin.texts.items() if self.origin else ():
            found = place_in(written, text, offset) if key.startswith(f"{self.key}/") else None
            if found:
                return {"file": written.file, "line": found[0], "column": found[1]}
        return {}

    def _plugin(self) -> dict[str, Any]:
        """The place of the plugin's options."""
        if self.origin is None:
            return {}
        line, column = self.origin.places.get(self.key, (None, None))
        return {"file": self.origin.file, "line": line, "column": column}


def _within(text: str, offset: int) -> str:
    """Where in a text of several lines a character is, in words."""
    if "\n" not in text:
        return ""
    line = text.count("\n", 0, offset)
    column = offset - (text.rfind("\n", 0, offset) + 1)
    return f" at line {line + 1}, column {column + 1} of the SQL"
