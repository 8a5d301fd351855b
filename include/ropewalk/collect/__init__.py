"""The collect stage: reads the outside world into datasets."""
