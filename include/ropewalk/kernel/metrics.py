"""What a stage counts for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ENDED = Counter("ropewalk_tasks_ended", "Attempts that have ended here", ["stage", "state"])
BUSY = Gauge("ropewalk_tasks_busy", "Attempts that run here now", ["stage"])
WAITING = Gauge(
    "ropewalk_tasks_waiting", "Tasks of the stage in the ledger, by state", ["stage", "state"]
)
SECONDS = Histogram(
    "ropewalk_task_seconds",
    "How long attempts took",
    ["stage"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
