"""Checks: one file each."""
