"""The columns of every step, told before anything runs: a name that is not there is refused where it stands.

What hangs on the values of a run is known when it runs: options are read with two sets of sample values, and what
differs between them is let be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ropewalk.contracts.columns import Columns
from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.models import Scalar
from ropewalk.contracts.plugins import KINDS, Plugin
from ropewalk.contracts.template import condition_fields, references, render_options, sql_fields
from ropewalk.workflow.model import Step
from ropewalk.workflow.steps import Read

Refuse = Callable[[Step, str, ConfigError], None]
"""Told of a mistake: the step, the plugin's place in it (``do/0``), and what is wrong."""

Values = Mapping[str, Scalar]
Reads = Mapping[str, Mapping[str, Read]]
"""By step and by the plugin's place in it."""


def foretell(
    steps: Iterable[Step], reads: Reads, values: Values, refuse: Refuse
) -> dict[str, Columns]:
    """The columns of each step, given in an order in which every step comes after those that it reads."""
    teller = _Teller(reads, values, refuse)
    for step in steps:
        teller.known[step.name] = teller.columns(step)
    return teller.known


@dataclass
class _Teller:
    reads: Reads
    values: Values
    refuse: Refuse
    known: dict[str, Columns] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.others = {name: _other(value) for name, value in self.values.items()}

    def columns(self, step: Step) -> Columns:
        """What a step gives; its mistakes are told."""
        inputs = {name: self.known.get(name) for name in step.needs}
        if step.connection is not None:  # a stage of someone else's
            return None
        if step.stage == "process":
            return self._chain(step, inputs)
        outcome = self._outcome(step, inputs)
        self._conditions(step, outcome)
        if isinstance(outcome, _Wrong):
            self.refuse(step, "do/0", outcome.error)
            return None
        return outcome

    def _conditions(self, step: Step, outcome: _Wrong | Columns) -> None:
        """Refuse a condition over the step's own columns that names another."""
        read = self.reads[step.name]["do/0"]
        for name in condition_fields(read.plugin.options) if isinstance(outcome, tuple) else ():
            text = getattr(read.options, name)
            compiler = KINDS["transform"].compiled()
            error = text and compiler.misses(text, outcome, values=self.values, origin=step.origin)
            if error:
                self.refuse(step, "do/0", error)

    def _chain(self, step: Step, inputs: Mapping[str, Columns]) -> Columns:
        do = [self._used(step, f"do/{index}") for index in range(len(step.do))]
        checks = [self._used(step, f"checks/{index}") for index in range(len(step.checks))]
        columns: Columns
        columns, mistakes = (
            KINDS["transform"]
            .compiled()
            .forecast(step.name, do, checks, inputs, values=self.values, origin=step.origin)
        )
        for key, error in mistakes:
            self.refuse(step, key, error)
        return columns

    def _used(self, step: Step, key: str) -> tuple[Plugin, Any, bool]:
        """A plugin, its options, and whether they hang on the values."""
        read = self.reads[step.name][key]
        return read.plugin, read.options, self._otherwise(read) != read.options

    def _outcome(self, step: Step, inputs: Mapping[str, Columns]) -> _Wrong | Columns:
        """The columns, or what is wrong; None where either hangs on the values."""
        read = self.reads[step.name]["do/0"]
        first = _told(read.plugin, read.options, inputs)
        other = self._otherwise(read)
        if other is read.options or first == _told(read.plugin, other, inputs):
            return first
        return None

    def _otherwise(self, read: Read) -> Any:
        """The options with other values; None where they cannot have those."""
        model = read.plugin.options
        marked = sql_fields(model)
        plain = {name: value for name, value in read.written.items() if name not in marked}
        if next(references(plain), None) is None:
            return read.options
        try:
            return read.plugin.parse(render_options(model, read.written, self.others))
        except ConfigError:
            return None


@dataclass(frozen=True)
class _Wrong:
    """A mistake, equal to another of the same words."""

    text: str
    option: str | None
    error: ConfigError = field(compare=False)


def _told(plugin: Plugin, options: Any, inputs: Mapping[str, Columns]) -> _Wrong | Columns:
    if options is None:
        return None
    try:
        return plugin.columns(options, inputs)
    except ConfigError as error:
        return _Wrong(str(error), error.field, error)


def _other(value: Scalar) -> Scalar:
    """Another value of the same type."""
    if isinstance(value, bool) or value is None:
        return not value
    return value + "_" if isinstance(value, str) else value + 1
