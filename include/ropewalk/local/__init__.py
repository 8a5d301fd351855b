"""The stack on one machine without containers: Postgres, Airflow, the five stages and the demo's
sources as processes.
"""
