"""Uplink: from the outbox to the collector, in order per stream, fair between streams, resuming from the collector's marks.

    uplink.py     the thread: one connection after another, addresses in turn, growing pauses
    session.py    one connection: what comes back, and what it does to lanes and outbox
    sending.py    one connection: what goes out, in its own thread (gRPC takes requests from an iterator)
    lane.py       one stream on one connection
    fit.py        whether the collector's mark and the outbox fit together
    carried.py    while there is no line
    turns.py      whose batch is next        bandwidth.py, hours.py   when it may go

A batch leaves the outbox when the collector calls it durable, and never otherwise. Whatever happens to a connection, the
next one begins with the collector's marks, so a lost acknowledgement costs at most a second sending.
"""

from forebay_agent.uplink.uplink import Uplink, UplinkState

__all__ = ["Uplink", "UplinkState"]
