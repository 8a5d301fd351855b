"""Ropewalk in Airflow: the only code that imports Airflow, and it imports nothing heavy."""
