"""Plugins: a file is a plugin, its name is the plugin's name, and this is the one door through which all come.

Each kind has a package; each module in it is a plugin with a docstring, ``class Options(PluginOptions)``
and the kind's one function; where options name steps to read from, ``inputs(options)`` lists them; where they
want something of the outside that not everyone can give, ``probe(options, steps)`` asks for it. For plans, a source
may say its ``types(options)``, and a sink its ``targets(options, steps)``.
Packages outside Ropewalk register theirs under the entry-point group
``ropewalk.<kind>`` (the value names the package). Modules import heavy libraries only inside functions,
so that whoever needs the options alone pays nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ropewalk.contracts.columns import Columns, check_named
from ropewalk.contracts.errors import ConfigError, nearest
from ropewalk.contracts.models import PluginInfo


class PluginOptions(BaseModel):
    """What a user writes under a plugin's name: unknown keys refused, nothing changed afterwards.

    ``shorthand`` names the field that a bare value stands for: ``- unique: [a, b]``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    shorthand: ClassVar[str | None] = None


class TransformOptions(PluginOptions):
    """What every transform has: ``of`` names the input that it applies to, where that is not the one at hand."""

    of: str | None = None


class CheckOptions(PluginOptions):
    """What every check has: what to do with rows or a table that fail it."""

    on_fail: Literal["fail", "warn", "quarantine"] = "fail"


@dataclass(frozen=True)
class Kind:
    """A kind of plugin: the function each has, the stage that runs it, the package of the built-in ones.

    ``compiler`` is the module whose ``forecast`` tells the columns of a step, ``planned`` its query, and whose
    ``canonical`` gives SQL one form, where a step is a chain of such plugins.
    """

    name: str
    verb: str
    stage: str
    package: str
    compiler: str | None = None

    def compiled(self) -> Any:
        """The compiler's module."""
        return importlib.import_module(str(self.compiler))


KINDS = {
    kind.name: kind
    for kind in (
        Kind("source", "read", "collect", "ropewalk.collect.sources"),
        Kind(
            "transform",
            "transform",
            "process",
            "ropewalk.process.transforms",
            compiler="ropewalk.process.forecast",
        ),
        Kind("check", "check", "process", "ropewalk.process.checks"),
        Kind("analysis", "analyze", "analyze", "ropewalk.analyze.analyses"),
        Kind("sink", "write", "store", "ropewalk.store.sinks"),
        Kind("page", "render", "present", "ropewalk.present.pages"),
        Kind("chart", "draw", "present", "ropewalk.present.charts"),
    )
}
STAGE_KIND = {
    "collect": "source",
    "process": "transform",
    "analyze": "analysis",
    "store": "sink",
    "present": "page",
}


@dataclass(frozen=True)
class Plugin:
    """A plugin, loaded: its options and its function."""

    kind: str
    name: str
    module: ModuleType

    @property
    def version(self) -> str:
        """The version that the task key holds: the module's ``VERSION``, "1" where it has none."""
        return str(getattr(self.module, "VERSION", "1"))

    @property
    def description(self) -> str:
        """The first line of the module's docstring."""
        return (self.module.__doc__ or "").strip().splitlines()[0]

    def inputs(self, options: Any) -> list[str]:
        """The steps that the options name as inputs: what the module's ``inputs(options)`` finds, and ``of``."""
        found: list[str] = getattr(self.module, "inputs", lambda _: [])(options)
        of: str | None = getattr(options, "of", None) if self.kind == "transform" else None
        return [of, *found] if of else found

    def columns(self, options: Any, inputs: Mapping[str, Columns]) -> Columns:
        """The columns that it gives, as far as they can be told before it runs.

        ``inputs`` are those of what it reads. ConfigError where its options name a column that is not there.
        """
        named = set(self.inputs(options))
        for name, columns in inputs.items():
            if name not in named:
                check_named(options, columns, name)
        tell: Callable[..., Columns] = getattr(self.module, "columns", lambda *_: None)
        return tell(options, inputs)

    def types(self, options: Any) -> dict[str, str]:
        """The types of columns that the options of a source declare, as words of the workflow file."""
        tell: Callable[..., Mapping[str, str]] = getattr(self.module, "types", lambda _: {})
        return dict(tell(options))

    def targets(self, options: Any, steps: Sequence[str]) -> dict[str, str]:
        """What a sink writes, by the step whose rows it is: ``postgres://results/flights.departures``."""
        tell: Callable[..., dict[str, str]] = getattr(self.module, "targets", lambda *_: {})
        return tell(options, steps)

    def probe(self, options: Any, steps: Sequence[str]) -> None:
        """Ask outside whether what the options want of it can be had; ``steps`` are those that it reads.

        ConfigError where it cannot; RetryableError where nobody answers.
        """
        ask: Callable[..., None] = getattr(self.module, "probe", lambda *_: None)
        ask(options, steps)

    @property
    def options(self) -> type[PluginOptions]:
        """The model of what a user writes."""
        cls: type[PluginOptions] = self.module.Options
        return cls

    @property
    def function(self) -> Callable[..., Any]:
        """The kind's function: ``read``, ``transform``, ``check``, ``analyze``, ``write``, ``render``, ``draw``."""
        function: Callable[..., Any] = getattr(self.module, KINDS[self.kind].verb)
        return function

    def mapping(self, value: Any) -> dict[str, Any]:
        """What a user wrote, as a mapping: a bare value becomes the shorthand's field."""
        if isinstance(value, Mapping):
            return dict(value)
        if value is None:
            return {}
        if self.options.shorthand is None:
            raise ConfigError(f"{self.kind} {self.name!r} takes options by name, not {value!r}")
        return {self.options.shorthand: value}

    def parse(self, value: Any) -> Any:
        """The options that a value holds; ConfigError with the field's path and the nearest valid name."""
        mapping = self.mapping(value)
        try:
            return self.options.model_validate(mapping)
        except ValidationError as error:
            raise self._refused(error) from None

    def info(self) -> PluginInfo:
        """The plugin as a stage describes it."""
        schema = self.options.model_json_schema()
        return PluginInfo(
            kind=self.kind,
            name=self.name,
            version=self.version,
            description=self.description,
            options=schema,
        )

    def _refused(self, error: ValidationError) -> ConfigError:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            fields = self.options.model_fields.items()
            hint = nearest(str(first["loc"][-1]), [one.alias or name for name, one in fields])
            return ConfigError(
                f"{self.kind} {self.name!r} has no option {path!r}",
                code="unknown_option",
                field=path,
                hint=hint,
            )
        if first["type"] == "missing":
            return ConfigError(
                f"{self.kind} {self.name!r} needs option {path!r}",
                code="missing_option",
                field=path,
            )
        of = f", option {path!r}" if path else ""
        return ConfigError(
            f"{self.kind} {self.name!r}{of}: {first['msg'].removeprefix('Value error, ')}",
            code="bad_option",
            field=path,
        )


def plugin(kind: str, name: str) -> Plugin:
    """The plugin of that kind and name, imported on first use; ConfigError with the nearest name if there is none."""
    return _load(kind, name)


def plugin_names(kind: str) -> list[str]:
    """The names of all installed plugins of a kind, sorted."""
    return sorted(_modules(kind))


def all_plugins(kind: str) -> list[Plugin]:
    """All installed plugins of a kind, imported."""
    return [plugin(kind, name) for name in plugin_names(kind)]


@cache
def _load(kind: str, name: str) -> Plugin:
    path = (
        f"{KINDS[kind].package}.{name}" if name.isidentifier() and not name.startswith("_") else ""
    )
    if not path or importlib.util.find_spec(path) is None:
        path = _modules(kind).get(name, "")
    if not path:
        hint = nearest(name, plugin_names(kind))
        raise ConfigError(f"there is no {kind} {name!r}", code="unknown_plugin", hint=hint)
    return Plugin(kind=kind, name=name, module=importlib.import_module(path))


@cache
def _modules(kind: str) -> dict[str, str]:
    packages = [entry.value for entry in entry_points(group=f"ropewalk.{kind}")]
    found: dict[str, str] = {}
    for package in (*packages, KINDS[kind].package):
        path = importlib.import_module(package).__path__
        names = (module.name for module in pkgutil.iter_modules(path))
        found |= {name: f"{package}.{name}" for name in names if not name.startswith("_")}
    return found
