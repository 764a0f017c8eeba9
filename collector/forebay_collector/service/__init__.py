"""What people do at the centre, once: command line, console and API all call these functions.

Each takes the actor first. It asks whether the actor may (`Actor.require`), does the deed, and records it in the audit in
the same transaction. Nothing here knows how it was asked.
"""
