"""The receiving process of (b): for each line of orders, has the table in memory and says what it has."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow as pa
from ropewalk.contracts.models import DatasetRef
from ropewalk.kernel.perform import open_store
from ropewalk.kernel.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = 4096


def from_store(what: str, settings: Settings) -> pa.Table:
    """The dataset as a stage reads its input; every page of it is touched."""
    table = open_store(settings).dataset(DatasetRef.model_validate_json(what)).table()
    for column in table.columns:
        for chunk in column.chunks:
            for buffer in chunk.buffers():
                if buffer is not None:
                    sum(memoryview(buffer)[::PAGE])
    return table


def from_flight(what: str, settings: Settings) -> pa.Table:
    """The dataset as a stage brings it from a store that it does not share."""
    from ropewalk.kernel.flight import fetch
    from ropewalk.kernel.tls import Tls

    ref = DatasetRef.model_validate_json(what).model_copy(update={"flight": settings.flight_url})
    dataset = fetch(ref, settings.scratch_dir, Tls.of(settings))
    table = dataset.table()
    for path in dataset.files:
        path.unlink()
    return table


def from_json(what: str, _: Settings) -> pa.Table:
    """The rows as a route gives them."""
    return pa.Table.from_pylist(httpx.get(what, timeout=600, trust_env=False).json())


HOW: dict[str, Callable[[str, Settings], pa.Table]] = {
    "store": from_store,
    "flight": from_flight,
    "json": from_json,
}


def main() -> None:
    """Receives until there are no more orders."""
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        table = HOW[order["how"]](order["what"], Settings.model_validate(order["settings"]))
        print(json.dumps({"rows": table.num_rows, "columns": table.num_columns}), flush=True)


if __name__ == "__main__":
    main()
