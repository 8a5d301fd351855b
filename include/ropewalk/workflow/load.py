"""Loads a workflow file: every mistake in it, each with file, line, column and the nearest valid name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ropewalk.contracts.columns import Columns
from ropewalk.contracts.errors import ConfigError, RopewalkError, TextError, nearest
from ropewalk.contracts.models import Scalar
from ropewalk.workflow.columns import foretell
from ropewalk.workflow.literals import literal_secrets
from ropewalk.workflow.model import (
    After,
    Header,
    Param,
    Retries,
    Step,
    Workflow,
    WorkflowError,
)
from ropewalk.workflow.partitions import values_of, whole
from ropewalk.workflow.steps import Read, StepReader
from ropewalk.workflow.text import Path as Place
from ropewalk.workflow.text import Text, read

NAME = r"^[a-z][a-z0-9_]{0,62}$"
SAMPLES: dict[str, Scalar] = {
    "string": "",
    "integer": 0,
    "number": 0.0,
    "boolean": True,
    "date": "2013-01-01",
}
PARTITION = ("start", "end", "name", "date", "month", "year")


def load(
    path: Path | str, *, unasked: list[RopewalkError] | None = None, foretold: bool = True
) -> Workflow:
    """The workflow in a file; WorkflowError with all that is wrong in it.

    Where ``unasked`` is given, plugins ask outside whether they can do what they are to do there; what nobody answered
    is added to it. Without ``foretold`` nothing is said of the steps' columns, which takes half of the time.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WorkflowError(
            [ConfigError(f"the file cannot be read: {error}", file=file.name)]
        ) from None
    return loads(text, file, unasked=unasked, foretold=foretold)


def loads(
    text: str, file: Path, *, unasked: list[RopewalkError] | None = None, foretold: bool = True
) -> Workflow:
    """The workflow in a text that stands in ``file``."""
    try:
        found = read(file.name, text)
    except ConfigError as error:
        raise WorkflowError([error]) from None
    return _Loader(found, file, unasked).load(foretold=foretold)


class _Loader:
    def __init__(self, text: Text, file: Path, unasked: list[RopewalkError] | None) -> None:
        self.text = text
        self.file = file
        self.unasked = unasked
        self.problems: list[ConfigError] = []
        self.reads: dict[str, dict[str, Read]] = {}
        self.columns: dict[str, Columns] = {}

    def load(self, *, foretold: bool) -> Workflow:
        header = self._header()
        for path, error in literal_secrets(self.text):
            self.report(path, error)
        steps = self._steps(header) if header else {}
        if header and not self.problems:
            self._edges(steps)
            self._cursors(header, steps)
            self._targets(steps)
        if header and foretold and not self.problems:
            self.columns = self._columns(header, steps)
        if not self.problems and self.unasked is not None:
            self._probe(steps, self.unasked)
        if self.problems or header is None:
            raise WorkflowError(
                sorted(self.problems, key=lambda one: (one.line or 0, one.column or 0))
            )
        return Workflow(self.file.stem, self.file, header, _with_order(steps), self.columns)

    def report(self, path: Place, error: RopewalkError) -> None:
        """Note a mistake at the value where it stands, or where it says itself that it does."""
        found = self.text.error(path, error.detail, code=error.code, hint=error.hint)
        if isinstance(error, TextError) and error.file is not None:
            found.file, found.line, found.column = error.file, error.line, error.column
        self.problems.append(found)

    def _header(self) -> Header | None:
        value = self.text.value
        if isinstance(value, dict):
            self._plain_words(value)
        else:
            self.report(
                (), ConfigError("a workflow file is a mapping that has steps", code="no_mapping")
            )
            return None
        try:
            return Header.model_validate(value)
        except ValidationError as error:
            for one in error.errors(include_url=False, include_input=False):
                self._refused(tuple(one["loc"]), one["type"], one["msg"])
        return None

    def _plain_words(self, value: Mapping[str, Any]) -> None:
        """Refuse references where no value is put in, and a schedule after itself."""
        for name in ("title", "description", "owner", "schedule", "timezone"):
            if isinstance(value.get(name), str) and "{{" in value[name]:
                told = f"{name} cannot hang on a value: {{{{ … }}}} stands in options and in SQL"
                self.report((name,), ConfigError(told, code="reference"))
        schedule = value.get("schedule")
        after = schedule.get("after") if isinstance(schedule, Mapping) else None
        if isinstance(after, list) and self.file.stem in after:
            told = "a workflow cannot be scheduled after itself"
            self.report(("schedule", "after", after.index(self.file.stem)), ConfigError(told))

    def _refused(self, path: Place, kind: str, message: str) -> None:
        if kind == "extra_forbidden":
            fields = _model_at(path).model_fields
            name = str(path[-1])
            error = ConfigError(
                f"there is no key {name!r} here", code="unknown_key", hint=nearest(name, fields)
            )
        elif kind == "string_pattern_mismatch" and "[key]" in path:
            path = tuple(part for part in path if part != "[key]")
            error = ConfigError(
                f"{path[-1]!r} is not a name: small letters, digits and _", code="bad_name"
            )
        elif kind == "missing":
            error = ConfigError(f"the key {path[-1]!r} is missing", code="missing_key")
        else:
            error = ConfigError(message.removeprefix("Value error, "), code="bad_value")
        self.report(path, error)

    def _steps(self, header: Header) -> dict[str, Step]:
        samples = _samples(header, self.file)
        reader = StepReader(self.text, self.file.parent, samples, self.report, header.stages)
        found = {name: reader.read(name, body) for name, body in header.steps.items()}
        self.reads = reader.reads
        return {name: step for name, step in found.items() if step is not None}

    def _edges(self, steps: Mapping[str, Step]) -> None:
        for step in steps.values():
            for need in step.needs:
                if need not in steps:
                    self._unknown_input(step, need, steps)
                elif steps[need].stage in {"store", "present"}:
                    error = ConfigError(
                        f"step {need!r} has no data to read: it is a {steps[need].stage} step"
                    )
                    self.report(self._place_of(step, need), error)
            if not step.needs and step.stage != "collect" and not step.connection:
                self.report(
                    ("steps", step.name),
                    ConfigError(f"step {step.name!r} reads no step", hint="add from:"),
                )
        try:
            TopologicalSorter({step.name: step.needs for step in steps.values()}).prepare()
        except CycleError as error:
            cycle: list[str] = error.args[1]
            text = " → ".join(reversed(cycle))
            self.report(
                ("steps", cycle[0]), ConfigError(f"the steps run in a circle: {text}", code="cycle")
            )

    def _cursors(self, header: Header, steps: Mapping[str, Step]) -> None:
        """Refuse to read on from run to run where every run is of the same range."""
        if header.partition is not None or header.start is None or header.end is None:
            return
        for step in steps.values():
            if any(use.options.get("cursor") for use in step.do):
                told = "a cursor reads on from run to run, but from start to end this workflow is one range"
                error = ConfigError(
                    told, code="cursor", hint="leave out end, or add partition: day"
                )
                self.report(("steps", step.name, "with", "cursor"), error)

    def _targets(self, steps: Mapping[str, Step]) -> None:
        """Refuse two inputs of a step that go to one table: each would take the other's place.

        Tables whose names hang on values the stage refuses; where others' sinks write is theirs to judge.
        """
        for step in steps.values():
            for key, use in self.reads[step.name].items():
                if use.plugin.name != "postgres" or "{{" in repr(step.do):
                    continue
                taken: dict[str, str] = {}
                for name, target in use.plugin.targets(use.options, step.needs).items():
                    if target in taken:
                        told = f"{taken[target]!r} and {name!r} go to one table, {target}"
                        error = ConfigError(
                            told, code="one_table", field=f"tables.{name}",
                            hint="UNION them in a process step, or name another table",
                        )  # fmt: skip
                        self._wrong_option(step, key, error)
                    taken[target] = name

    def _columns(self, header: Header, steps: Mapping[str, Step]) -> dict[str, Columns]:
        """The columns of each step; refuses every column that is known not to be there."""
        order = TopologicalSorter({step.name: step.needs for step in steps.values()}).static_order()
        values = _samples(header, self.file)
        return foretell((steps[name] for name in order), self.reads, values, self._wrong_option)

    def _probe(self, steps: Mapping[str, Step], unasked: list[RopewalkError]) -> None:
        """Have every plugin ask outside what it needs to know of it."""
        for step in steps.values():
            for key, use in self.reads[step.name].items():
                try:
                    use.plugin.probe(use.options, step.needs)
                except ConfigError as error:
                    if error.code == "unknown_connection":  # a stage's, and not this shell's
                        unasked.append(error)
                    else:
                        self._wrong_option(step, key, error)
                except RopewalkError as error:
                    unasked.append(error)

    def _wrong_option(self, step: Step, key: str, error: ConfigError) -> None:
        part, _, index = key.partition("/")
        word = step.stage if part == "do" else part
        path: Place = ("steps", step.name, word, int(index))
        if step.stage != "process":
            path = ("steps", step.name, "with")
            parts = (error.field or "").split(".")
            path = (*path, *(int(one) if one.isdigit() else one for one in parts))
        elif error.field:
            path = self.text.find(path, error.field)
        self.report(path, error)

    def _unknown_input(self, step: Step, need: str, steps: Mapping[str, Step]) -> None:
        others = [name for name in steps if name != step.name]
        error = ConfigError(
            f"there is no step {need!r}", code="unknown_step", hint=nearest(need, others)
        )
        self.report(self._place_of(step, need), error)

    def _place_of(self, step: Step, need: str) -> Place:
        """Where a step names an input: in ``from``, or else in its SQL or its options."""
        value = self.text.value["steps"][step.name].get("from")
        if value == need:
            return ("steps", step.name, "from")
        if isinstance(value, list) and need in value:
            return ("steps", step.name, "from", value.index(need))
        body = self.text.value["steps"][step.name]
        for index, item in enumerate(body.get("process") or ()):
            if need in str(item):
                return self.text.find(("steps", step.name, "process", index), need)
        options = ("with",) if "with" in body else ()
        return self.text.find(("steps", step.name, *options), need)


def _with_order(steps: Mapping[str, Step]) -> dict[str, Step]:
    """The steps with all that each waits for: a page, which shows the run, waits for all but pages."""
    work = tuple(step.name for step in steps.values() if step.stage != "present")
    return {
        step.name: replace(step, after=work if step.stage == "present" else step.needs)
        for step in steps.values()
    }


def _samples(header: Header, file: Path) -> dict[str, Scalar]:
    """A value for every ``{{ … }}`` that the file may use, of the type that a run's will have."""
    values: dict[str, Scalar] = {"run.id": "sample"}
    for name, param in header.params.items():
        values[f"params.{name}"] = param.default if param.default is not None else _sample(param)
    workflow = Workflow(file.stem, file, header)
    if header.partition:
        values |= dict.fromkeys((f"partition.{name}" for name in PARTITION), "2013-01-01")
    else:
        values |= values_of(workflow, whole(workflow))
    return values


def _sample(param: Param) -> Scalar:
    return param.enum[0] if param.enum else SAMPLES[param.type]


def _model_at(path: Place) -> type[BaseModel]:
    """The model whose key a path's last part was meant to be."""
    inner: dict[Any, type[BaseModel]] = {"retries": Retries, "params": Param, "schedule": After}
    return inner.get(path[0], Header) if len(path) > 1 else Header
