"""The package's weather, in order of time, each record as the JSON text that goes out."""

from __future__ import annotations

import csv
import json
from bisect import bisect_left
from datetime import datetime
from operator import itemgetter

from demo.package import NULL, data_file

TEXTS = {"origin", "time_hour"}
WHOLE = {"year", "month", "day", "hour", "wind_dir"}


class Observations:
    """One record per airport and hour; 26,115 of them in about 10 MB."""

    def __init__(self) -> None:
        with data_file("weather.csv").open(encoding="utf-8", newline="") as file:
            rows = sorted(csv.DictReader(file), key=itemgetter("time_hour", "origin"))
        self._times = [datetime.fromisoformat(row["time_hour"]) for row in rows]
        self._texts = [json.dumps({name: _value(name, row[name]) for name in row}) for row in rows]

    def page(
        self, since: datetime | None, until: datetime | None, offset: int, limit: int
    ) -> tuple[list[str], bool]:
        """The records of ``[since, until)`` from ``offset`` on, at most ``limit``; and whether
        there are more.
        """
        first = bisect_left(self._times, since) if since else 0
        end = bisect_left(self._times, until) if until else len(self._times)
        start = first + offset
        stop = min(start + limit, end)
        return self._texts[start:stop], stop < end


def _value(name: str, text: str) -> str | int | float | None:
    if text == NULL:
        return None
    if name in TEXTS:
        return text
    return int(text) if name in WHOLE else float(text)
