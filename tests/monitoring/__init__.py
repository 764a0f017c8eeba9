"""Prometheus in tests: Debian's own server and promtool, and what the programs say that they tell."""
