"""What crosses a process border: models, errors, keys, plugins. Standard library and pydantic only."""
