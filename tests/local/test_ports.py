"""Ports: the same at every start, distinct, and never one that somebody else listens on."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ropewalk.contracts.errors import ConfigError
from ropewalk.local.free_ports import free_port, is_free
from ropewalk.local.home import Home
from ropewalk.local.ports import NAMES, STEP, plan, remembered, settle

taken_ports = st.sets(st.integers(8080, 8200), max_size=60)


def test_ports_start_at_the_base_in_a_fixed_order() -> None:
    found = plan(8080, {}, (), lambda _: True)
    assert found.ports == {name: 8080 + number for number, name in enumerate(NAMES)}
    assert found.moved == ()


def test_a_taken_port_moves_and_is_told() -> None:
    found = plan(8080, {}, (), lambda port: port != 8080)
    assert found.ports["airflow"] == 8080 + STEP
    assert found.moved == (("airflow", 8080, 8080 + STEP),)


def test_what_runs_keeps_its_port_though_it_is_taken_by_itself() -> None:
    known = {name: 9000 + number for number, name in enumerate(NAMES)}
    found = plan(8080, known, {"postgres"}, lambda port: port != known["postgres"])
    assert found.ports == known


@given(taken=taken_ports, running=st.sets(st.sampled_from(NAMES)))
def test_ports_are_distinct_free_and_stable(taken: set[int], running: set[str]) -> None:
    first = plan(8080, {}, (), lambda port: port not in taken)
    assert len(set(first.ports.values())) == len(NAMES)
    assert taken.isdisjoint(first.ports.values())
    second = plan(8080, first.ports, running, lambda port: port not in taken)
    assert second.ports == first.ports
    assert second.moved == ()


def test_no_port_left_is_an_error_that_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match=r"no free port from 8080 up \(set ROPEWALK_PORT_BASE\)"):
        plan(8080, {}, (), lambda _: False)


def test_a_listener_makes_a_port_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)


def test_ports_that_are_drawn_are_free_all_in_a_row() -> None:
    first = free_port(len(NAMES))
    assert all(map(is_free, range(first, first + len(NAMES))))


def test_ports_are_remembered_until_the_base_changes(tmp_path: Path) -> None:
    first = settle(Home(tmp_path, 21100), ())
    assert remembered(Home(tmp_path, 21100)) == first.ports
    assert settle(Home(tmp_path, 21100), ()).ports == first.ports
    moved = settle(Home(tmp_path, 21200), {"postgres"})
    assert moved.ports["postgres"] == first.ports["postgres"]
    assert moved.ports["airflow"] >= 21200
