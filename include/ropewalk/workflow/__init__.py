"""The workflow file: model, loading, graph, and the task requests that it becomes."""
