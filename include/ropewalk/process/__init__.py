"""The process stage: every transform is a query."""
