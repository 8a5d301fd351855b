"""The key: the same on every machine, in every process, for ever; and another for all that matters."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import TaskRequest

from tests.contracts.test_reasons import REQUEST, ref

GOLDEN = "e7ed51a3987fd0d92bf0754199d894d9dfe1ee85ac0d08ba503e81893a338c0a"
SCRIPT = """
import sys
from ropewalk.contracts.keys import task_key
from ropewalk.contracts.models import TaskRequest
print(task_key(TaskRequest.model_validate_json(sys.stdin.read())))
"""


def test_the_key_of_a_request_never_changes() -> None:
    """Whoever changes it, on purpose, has every step of every installation run again."""
    assert task_key(REQUEST) == GOLDEN


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_another_process_with_another_hash_seed_has_the_same_key(seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run([sys.executable, "-c", SCRIPT], input=REQUEST.model_dump_json(), env=environment,
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == GOLDEN


OPTIONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(options=st.dictionaries(st.text(), OPTIONS, max_size=4))
def test_the_order_of_a_dict_and_the_way_over_the_wire_change_nothing(options: dict[str, object]) -> None:  # fmt: skip
    body = REQUEST.model_dump(mode="json")
    body["do"][0]["options"] = options
    turned = json.loads(json.dumps(body))
    turned["do"][0]["options"] = dict(reversed(options.items()))
    one, two = TaskRequest.model_validate(body), TaskRequest.model_validate(turned)
    sent = TaskRequest.model_validate_json(one.model_dump_json())
    assert task_key(one) == task_key(two) == task_key(sent)


def test_where_rows_came_from_is_no_part_of_it_and_what_they_are_is() -> None:
    moved = REQUEST.model_copy(update={"inputs": {"flights": ref("x", task="b")}})
    other = REQUEST.model_copy(update={"inputs": {"flights": ref("y")}})
    assert task_key(moved) == task_key(REQUEST) != task_key(other)


def test_who_asks_is_no_part_of_it() -> None:
    run = REQUEST.run.model_copy(update={"id": "another", "requested": 7, "attempt": "x"})
    assert task_key(REQUEST.model_copy(update={"run": run})) == task_key(REQUEST)
