"""Differences planted in the platform behind Forebay's back, while a workload goes on."""
