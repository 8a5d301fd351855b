"""A few random schedules on real stages; ``make chaos N=1000 SEED=1`` does many."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.loads import Load, counted
from tests.chaos.schedules import POINTS, run, source
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


@pytest.mark.parametrize("point", POINTS)
def test_a_collecting_task_that_is_killed_at_a_point_has_every_row_once(
    chaos: World, point: str
) -> None:
    """Until its end it has no dataset; then it has that of one attempt, and nothing of the other is left."""
    load = Load(f"collect_{point.replace('.', '_')}", "append", 1, 1, 1)
    request = source(chaos, load)
    chaos.arm(f"{point}:kill")
    report = chaos.drive(request)
    assert chaos.hit(0.1) is not None, f"nothing has reached {point}"
    for service in chaos.all_services():
        if service.process is not None and service.process.poll() is not None:
            service.start()
    assert report.output is not None
    rows = chaos.datasets.dataset(report.output).table().to_pydict()
    found = counted(zip(rows["n"], rows["day"], rows["v"], strict=True))
    assert found == counted(load.source)
    assert chaos.collect_garbage() == []
