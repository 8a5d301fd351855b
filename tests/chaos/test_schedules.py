"""A few random schedules on real stages; ``make chaos N=1000 SEED=1`` does many."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.schedules import run
from tests.chaos.world import World, world


@pytest.fixture(scope="module")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two replicas of what collects and of what stores."""
    with world(tmp_path_factory.mktemp("world"), stages={"collect": 2, "store": 2}) as made:
        yield made


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 5))
def test_whatever_dies_whenever_every_row_is_there_once(chaos: World, seed: int) -> None:
    assert run(chaos, seed).wrong == []
