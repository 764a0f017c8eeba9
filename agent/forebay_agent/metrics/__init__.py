"""Metrics: what the agent tells a Prometheus on its own appliance, when `[metrics] listen` says where.

Everything is read from what the process knows anyway, when it is asked; nothing is counted for it but sealed batches, and
where nobody listens nothing of this is even imported.
"""
