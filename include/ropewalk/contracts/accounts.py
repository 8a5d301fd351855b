"""The row ledger of a run: each step's rows, and whether all of them are accounted for, from source to table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

from ropewalk.contracts.models import Report


@dataclass(frozen=True)
class Account:
    """A step's rows. ``came`` counts by input, or what was read; ``went`` what it put out or published.

    ``equation`` says in words how both are the same, where the step's cardinality has an equation;
    ``wrong`` says what does not fit.
    """

    report: Report
    came: dict[str, int]
    went: int | None
    equation: str
    wrong: str

    @property
    def verdict(self) -> str:
        """``balanced``, ``open`` where no equation applies, or ``unbalanced``."""
        if self.wrong:
            return "unbalanced"
        return "balanced" if self.equation else "open"


def accounts(reports: Mapping[str, Report]) -> list[Account]:
    """The accounts of a run's steps, each after those that it reads."""
    needs = {name: set(one.rows.inputs) & set(reports) for name, one in reports.items()}
    order = TopologicalSorter({name: sorted(needs[name]) for name in sorted(needs)}).static_order()
    return [_account(reports[name], reports) for name in order]


def _account(report: Report, reports: Mapping[str, Report]) -> Account:
    rows = report.rows
    came = {"read": rows.read} if rows.read is not None else dict(rows.inputs)
    wrong = "; ".join([*_inputs_wrong(report, reports), *_own_wrong(report)])
    if report.published:
        kept = [one.rows for one in report.published if not one.superseded]
        all_kept = not any(one.superseded or one.left for one in report.published)
        told = "each table has the rows of its step" if all_kept else "a later run's rows are kept"
        return Account(report, came, sum(kept), told, wrong)
    went = rows.out if report.output is not None else None
    return Account(report, came, went, _equation(report), wrong)


def _equation(report: Report) -> str:
    rows = report.rows
    if rows.unexplained is None or report.output is None:
        return ""
    if rows.cardinality == "n:1":
        return f"{rows.came:,} {_of(report)} made {rows.out + rows.quarantined:,}"
    parts = [f"{rows.out:,} out"]
    if rows.quarantined:
        parts.append(f"{rows.quarantined:,} quarantined")
    if rows.lost:
        parts.append(f"{rows.lost:,} dropped")
    return f"{rows.came:,} {_of(report)} = {' + '.join(parts)}"


def _of(report: Report) -> str:
    return report.rows.of or ("read" if report.rows.read is not None else "in")


def _own_wrong(report: Report) -> Iterator[str]:
    missing = report.rows.unexplained
    if missing:
        word = "row" if abs(missing) == 1 else "rows"
        yield f"{abs(missing):,} {word} too {'many' if missing < 0 else 'few'}"
    # Of a batch, some partitions may be loaded and others superseded: together they are all rows.
    totals: dict[tuple[str, str], int] = {}
    for one in report.published:
        place = (one.step, one.target)
        totals[place] = totals.get(place, 0) + one.rows + one.left
    loaded = {(one.step, one.target) for one in report.published if not one.superseded}
    for (step, target), rows in totals.items():
        if (step, target) in loaded and rows != report.rows.inputs.get(step, rows):
            yield f"{target} has {rows:,} rows of {report.rows.inputs[step]:,}"


def _inputs_wrong(report: Report, reports: Mapping[str, Report]) -> Iterator[str]:
    """What a step has read must be what the step before has put out; each partition of a batch may read the whole."""
    for name, rows in report.rows.inputs.items():
        if name in reports and _is_batch(report) and not _is_batch(reports[name]):
            continue
        if name in reports and rows != reports[name].rows.out:
            yield f"{rows:,} rows of {name} came in, which has put out {reports[name].rows.out:,}"


def _is_batch(report: Report) -> bool:
    return "partitions" in report.outputs
