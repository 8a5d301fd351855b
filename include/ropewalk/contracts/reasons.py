"""Why a task runs: which part of its key is another than that of the last task of its step and partition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ropewalk.contracts.keys import key_parts
from ropewalk.contracts.models import TaskRequest

OF_STAGE = {
    "collect": "the source is read again: it was cleared, or a refresh was asked for",
    "store": "a store step looks at its tables in every run",
    "present": "every run has a page of its own",
}
UNPARTED = "without a partition the source is read in every run"
BATCHED = "a batch looks at each of its partitions in every run"
SAME_BUT = "nothing of it has changed, but what it made is no longer in the dataset store"


def reasons(request: TaskRequest, before: TaskRequest | None) -> list[str]:
    """Sentences for people; ``before`` is the last request of the same step and partition that succeeded."""
    if before is None:
        return [f"first time for {request.partition.name}" if request.partition else "first time"]
    new, old = key_parts(request), key_parts(before)
    found = [text for part in new for text in _of(part, new[part], old.get(part), request)]
    return found or [SAME_BUT]


def _of(part: str, new: Any, old: Any, request: TaskRequest) -> Iterator[str]:
    if new == old:
        return
    if part in {"do", "checks"}:
        yield from _uses("step" if part == "do" else "check", new, old or [])
    elif part == "inputs":
        yield from _inputs(new, old or {})
    elif part == "values":
        yield from _values(new, old or {})
    elif part == "generation":
        yield _generation(request, old)
    elif part == "upstream":
        yield "the steps before it are not the same"
    elif part == "max_quarantined":
        yield f"max_quarantined is {new or 'not given'}, was {old or 'not given'}"
    else:
        yield f"its {part} has changed"


def _generation(request: TaskRequest, old: Any) -> str:
    if request.stage == "collect" and request.batch:
        return BATCHED
    if request.stage == "collect" and request.partition is None:
        return UNPARTED
    return OF_STAGE.get(request.stage, f"its generation is {request.generation!r}, was {old!r}")


def _values(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[str]:
    for name in _others(new, old):
        yield f"{name} is {new[name]!r}" + (f", was {old[name]!r}" if name in old else "")
    yield from (f"{name} is used no more" for name in sorted(old.keys() - new.keys()))


def _inputs(new: Mapping[str, str], old: Mapping[str, str]) -> Iterator[str]:
    for name in _others(new, old):
        yield f"input {name} has other rows" if name in old else f"input {name} is new"
    yield from (f"input {name} is read no more" for name in sorted(old.keys() - new.keys()))


def _uses(
    word: str, new: Sequence[Mapping[str, Any]], old: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    if [use["plugin"] for use in new] != [use["plugin"] for use in old]:
        then, now = (", ".join(use["plugin"] for use in uses) or "none" for uses in (old, new))
        yield f"its {'plugins' if word == 'step' else 'checks'} are {now}, were {then}"
        return
    for one, other in zip(new, old, strict=True):
        name = one["plugin"]
        if one["version"] != other["version"]:
            yield f"{name} is version {one['version']}, was {other['version']}"
        for option in _others(one["options"], other["options"]):
            yield f"option {option} of {name} has changed"
        for option in sorted(other["options"].keys() - one["options"].keys()):
            yield f"option {option} of {name} is gone"


def _others(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    """The names whose value is another than before."""
    return sorted(name for name, value in new.items() if name not in old or old[name] != value)
