"""The table that is moved and loaded: ten columns of the types that tables have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

CITIES = ("Newark", "New York", "Boston", "Chicago", "Los Angeles", "San Juan", "Zürich")
CANCELLED, UNKNOWN = 0.02, 0.1  # shares that are null


def sample(rows: int) -> pa.Table:
    """So many rows of ten columns, the same at each call."""
    import numpy as np
    import pyarrow as pa

    random = np.random.default_rng(2013)
    start = np.datetime64("2013-01-01T00:00:00", "us")
    seconds = random.integers(0, 365 * 86_400, rows)
    moments = start + seconds * np.timedelta64(1_000_000, "us")
    delays = random.gamma(2, 20, rows) - 20
    columns = {
        "id": pa.array(np.arange(rows)),
        "at": pa.array(moments, pa.timestamp("us", "UTC")),
        "flight": pa.array(random.integers(1, 9_000, rows), pa.int32()),
        "city": pa.DictionaryArray.from_arrays(
            pa.array(random.integers(0, len(CITIES), rows), pa.int32()), pa.array(CITIES)
        ).cast(pa.string()),
        "tail": pa.array(random.integers(10_000, 99_999, rows)).cast(pa.string()),
        "delay": pa.array(delays, mask=random.random(rows) < CANCELLED),
        "wind": pa.array(random.normal(10, 4, rows)),
        "distance": pa.array(random.integers(80, 5_000, rows).astype("float64")),
        "seats": pa.array(random.integers(2, 450, rows), mask=random.random(rows) < UNKNOWN),
        "late": pa.array(delays > 0),
    }
    return pa.table(columns)
