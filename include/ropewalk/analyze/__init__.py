"""The analyze stage: statistics and models over datasets."""
