"""The store stage: publishes datasets, exactly once."""
