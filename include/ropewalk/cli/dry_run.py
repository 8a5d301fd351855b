"""What a backfill would do: which partitions are done already, by the keys of their tasks in the dataset store."""

from __future__ import annotations

import itertools
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.table import Table

from ropewalk.cli.airflow import home
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import DatasetRef, RunInfo
from ropewalk.workflow import Step, Workflow, task_request

if TYPE_CHECKING:
    from rich.console import Console

    from ropewalk.cli.backfill import Batch
    from ropewalk.contracts.models import Partition, Scalar
    from ropewalk.kernel.manifests import ManifestStore

OUTSIDE = {"store", "present"}  # stages that every run asks anew
RUN = RunInfo(id="dry run")


@dataclass
class Foreseen:
    """The partitions of a backfill by what would happen: ``reused`` where every step that computes has been done."""

    reused: list[str] = field(default_factory=list)
    to_run: list[str] = field(default_factory=list)


def store_of_installation() -> ManifestStore | None:
    """The dataset store, where this machine has it."""
    from ropewalk.kernel.manifests import ManifestStore
    from ropewalk.kernel.settings import Settings

    given, folder = os.environ.get("ROPEWALK_STORE_URL"), (home() / "store").absolute()
    if given is None and not folder.is_dir():
        return None
    scratch = home().absolute() / "scratch" / "cli"
    scratch.mkdir(parents=True, exist_ok=True)  # no service may have run here
    return ManifestStore.open(Settings(store_url=given or folder.as_uri(), scratch_dir=scratch))


def foresee(
    workflow: Workflow, batches: Iterable[Batch], params: Mapping[str, Scalar], store: ManifestStore
) -> Foreseen:
    """What would happen to each partition, as long as its sources are as they were when they were last read."""
    found = Foreseen()
    look = _Look(workflow, params, store)
    for batch in batches:
        for one in batch.partitions:
            (found.reused if look.is_done(one, batch.partitions) else found.to_run).append(one.name)
    return found


class _Look:
    def __init__(
        self, workflow: Workflow, params: Mapping[str, Scalar], store: ManifestStore
    ) -> None:
        self._workflow, self._params, self._store = workflow, params, store
        self._steps = [step for step in workflow.order() if step.stage not in OUTSIDE]
        self._known: dict[str, DatasetRef | None] = {}

    def is_done(self, one: Partition, batch: Sequence[Partition]) -> bool:
        """Whether all steps that compute are done for a partition."""
        outputs: dict[str, DatasetRef] = {}
        for step in self._steps:
            ref = self._output(step, one, batch, outputs)
            if ref is None:
                return False
            outputs[step.name] = ref
        return True

    def _output(
        self,
        step: Step,
        one: Partition,
        batch: Sequence[Partition],
        inputs: Mapping[str, DatasetRef],
    ) -> DatasetRef | None:
        from ropewalk.kernel.reads import latest

        whole = batch if step.stage == "collect" and len(batch) > 1 else ()
        for group in (whole, ()) if whole else ((),):
            request = task_request(
                self._workflow, step, run=RUN, partition=one, batch=group, params=self._params,
                inputs=inputs, generation="0",
            )  # fmt: skip
            if group and request.batch:
                continue  # each partition has its own
            key = task_key(latest(request, self._store))
            if key not in self._known:
                manifest = self._store.manifest(key)
                self._known[key] = manifest.report.output if manifest else None
            if self._known[key] is not None:
                return self._known[key]
        return None


def say_foreseen(
    workflow: Workflow,
    batches: Sequence[Batch],
    found: Foreseen | None,
    rate: float | None,
    console: Console,
) -> None:
    """Print it: a line per batch, which partitions run and which are reused, and how long it takes."""
    total = sum(len(batch.partitions) for batch in batches)
    reused = set(found.reused) if found else set()
    table = Table(box=None, header_style="bold")
    table.add_column("batch")
    for name in ("partitions", "to run", "reused"):
        table.add_column(name, justify="right")
    for batch in batches:
        done = sum(one.name in reused for one in batch.partitions)
        told = (str(len(batch.partitions) - done), str(done)) if found else ("?", "?")
        table.add_row(batch.name, str(len(batch.partitions)), *told)
    console.print(table)
    _say_which(batches, reused if found else None, console)
    per_partition = USUAL_RATE if rate is None else rate
    seconds = START * len(batches) + (total - len(reused)) * per_partition + len(reused) * REUSED
    told_by = "by the last backfill" if rate is not None else "by what is usual"
    runs = "run" if len(batches) == 1 else "runs"
    console.print(
        f"{workflow.name}: {total} partitions in {len(batches)} {runs}; about {seconds:.0f} s, {told_by}"
    )
    if found is None:
        console.print(
            "which are done already cannot be told: the dataset store is not on this machine"
        )


def _say_which(batches: Sequence[Batch], reused: set[str] | None, console: Console) -> None:
    """Name the partitions that would run, and those that are reused."""
    names = [one.name for batch in batches for one in batch.partitions]
    if reused is None:
        return
    for what, chosen in (("to run", set(names) - reused), ("reused", reused)):
        told = folded(names, chosen)
        console.print(f"{what}: {', '.join(told) or 'none'}", soft_wrap=True, highlight=False)


def folded(names: Sequence[str], chosen: Container[str]) -> list[str]:
    """Those that are chosen, neighbours as a range: ``2013-01-01 … 2013-01-09``."""
    groups = itertools.groupby(names, key=lambda name: name in chosen)
    ranges = [list(group) for wanted, group in groups if wanted]
    return [" … ".join(dict.fromkeys((one[0], one[-1]))) for one in ranges]


USUAL_RATE = 0.2  # seconds for a partition of the demo on two cores
REUSED = 0.02
START = 2.0
