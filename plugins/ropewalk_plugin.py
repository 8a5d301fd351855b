"""Where Airflow finds Ropewalk's plugin."""

from ropewalk_airflow.plugin import RopewalkPlugin

__all__ = ["RopewalkPlugin"]
