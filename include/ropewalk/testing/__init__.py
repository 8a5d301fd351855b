"""The conformance suites that a plugin or a stage inherits."""
