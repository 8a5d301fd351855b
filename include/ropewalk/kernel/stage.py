"""A stage: its name, the kinds of plugin it runs, and the function that does one task."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ropewalk import __version__
from ropewalk.contracts.errors import ConfigError
from ropewalk.contracts.models import CONTRACT_VERSION, Description, TaskRequest
from ropewalk.contracts.plugins import all_plugins, plugin

if TYPE_CHECKING:
    from ropewalk.kernel.task import Task


Run = Callable[["Task"], None]
Session = Callable[["Task"], AbstractContextManager[Run]]


@dataclass(frozen=True)
class Stage:
    """What a stage's package says of itself, in its module ``stage`` as ``STAGE``.

    ``run`` reads inputs, writes outputs and says what it found through the task; ``session`` gives the same
    for the partitions of a batch, which share what it holds open; ``preload`` names the heavy modules that
    its child processes want loaded before they fork; ``web`` names a function of more routes
    (``"package.module:function"``), given the service's context; ``names`` one that gives the keys of tasks whose
    data is in use outside; ``mend`` one that finishes what killed tasks have left half done outside.
    """

    name: str
    kinds: tuple[str, ...]
    run: Run
    session: Session | None = None
    preload: tuple[str, ...] = ()
    web: str | None = None
    names: str | None = None
    mend: str | None = None

    def describe(self) -> Description:
        """The stage and all its plugins."""
        plugins = [found.info() for kind in self.kinds for found in all_plugins(kind)]
        return Description(
            stage=self.name, contract=CONTRACT_VERSION, version=__version__, plugins=plugins
        )

    def for_batch(self, batch: Task) -> AbstractContextManager[Run]:
        """What does one partition of a batch at a time."""
        return self.session(batch) if self.session else nullcontext(self.run)

    def accept(self, request: TaskRequest) -> None:
        """Refuse a request that is another stage's, or that names plugins or versions which are not here."""
        if request.stage != self.name:
            raise ConfigError(
                f"this is the stage {self.name!r}, not {request.stage!r}", code="wrong_stage"
            )
        if request.checks and "check" not in self.kinds:
            raise ConfigError(
                f"the stage {self.name!r} judges no rows: checks stand after a process step",
                code="checks",
            )
        for use, kind in [(use, self.kinds[0]) for use in request.do] + [
            (use, "check") for use in request.checks
        ]:
            here = plugin(kind, use.plugin).version
            if use.version not in ("", here):
                raise ConfigError(
                    f"{kind} {use.plugin!r} is version {here} here, and the request wants {use.version}",
                    code="plugin_version",
                    hint="bring Airflow and the stages to the same release of Ropewalk",
                )


def load(path: str) -> Stage:
    """The stage that a module of that path defines as ``STAGE``."""
    stage: Any = importlib.import_module(path).STAGE
    if not isinstance(stage, Stage):
        raise ConfigError(f"{path}.STAGE is not a Stage")
    return stage


def built_in(name: str) -> str:
    """The module of a built-in stage."""
    return f"ropewalk.{name}.stage"
