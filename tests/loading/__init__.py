"""A collector's loading side for tests: real ledger, archive and Iceberg platform, batches put in as receiving does."""
