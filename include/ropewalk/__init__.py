"""Ropewalk: one YAML file per data workflow, done by stage services, scheduled by Airflow, exactly once."""

from __future__ import annotations

__version__ = "0.1.0"
