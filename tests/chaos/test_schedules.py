"""A few random schedules on real stages; ``make chaos N=1000 SEED=1`` does many."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.loads import Load, counted
from tests.chaos.schedules import POINTS, STAGES, run, run_all, source
from tests.chaos.world import World, world

SEEDS = (1, 4, 5, 10)


@pytest.fixture(scope="module")
def chaos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two replicas of each stage."""
    with world(tmp_path_factory.mktemp("world"), stages=STAGES) as made:
        yield made


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_dies_whenever_every_row_is_there_once(chaos: World, seed: int) -> None:
    found = run(chaos, seed)
    assert found.wrong == []
    assert found.faults.total() > 0, "nothing has happened: another seed"


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("seed", "kind"), [(12, "bucket"), (21, "far")])
def test_so_it_is_in_a_bucket_and_where_datasets_come_by_flight(seed: int, kind: str) -> None:
    found = run_all([seed], float("inf"), bucket=kind == "bucket", far=kind == "far")
    assert found.wrong == []
    assert found.faults.total() > 0, "nothing has happened: another seed"


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
