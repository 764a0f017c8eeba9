"""Metrics: what the collector tells a Prometheus, of itself and, from heartbeats and ledger, of every agent and stream.

tally.py        what the stages of this process count, a batch at a time
reading.py      one look at the fleet
definitions.py  the list of all metrics, and where each value comes from
exposition.py   the page, in Prometheus' text format
endpoint.py     who may ask: routes, tokens;  host.py: an address of its own
"""
