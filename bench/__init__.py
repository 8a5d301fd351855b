"""The benchmarks: every figure is a ratio of what was measured in the same run, on the same machine."""
