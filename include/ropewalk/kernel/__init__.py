"""The kernel that every stage service runs on: ledger, store, control and data plane."""
