"""The REST API: everything that the console does, for programs, over the same service layer.

    request -> bearer token -> Call (who, path, query, body) -> one function of a noun's module -> JSON, or a problem

Every operation is one `Operation`; the routes and the OpenAPI description are both made from the same list
(`nouns.py`), so that neither can say what the other does not. No cookie is looked at: what a browser holds gives no
way in, so no other site can use it. Moments are RFC 3339 texts in UTC, durations numbers of seconds or microseconds by
their name's end (`_s`, `_us`).
"""
