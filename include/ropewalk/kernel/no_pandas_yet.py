"""Imported before the fork: has Arrow believe that there is no pandas until somebody asks for it.

Arrow imports pandas, where it is installed, the first time that it takes Python values: half a second and 45 MB
in every task of a stage that does not need it. It looks only once, so it is let look while pandas is hidden;
``to_pandas`` looks again.
"""

from __future__ import annotations

import sys

import pyarrow as pa


class _Hidden:
    """Finds no pandas."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


if "pandas" not in sys.modules:
    sys.meta_path.insert(0, _Hidden)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_Hidden)
