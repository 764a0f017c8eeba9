"""The packages as they were built: `make packages` first; without them these are skipped."""
