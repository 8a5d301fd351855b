"""Transforms: one file each."""
