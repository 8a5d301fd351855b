"""The present stage: pages, charts and files for people."""
