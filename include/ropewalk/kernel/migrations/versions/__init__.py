"""One file per version of the ledger's tables, in the order of their numbers."""
