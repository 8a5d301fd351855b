"""The example plugins."""
