"""The process stage over a store of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from ropewalk.testing.transforms import ProcessBench


@pytest.fixture
def bench(tmp_path: Path) -> ProcessBench:
    return ProcessBench(tmp_path)
