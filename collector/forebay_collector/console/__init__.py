"""The console: the web page on which the fleet is watched, and on which people decide.

`app.py` puts it together, `server.py` serves it. A request becomes a `Visit` (`visit.py`): who asks, in which language.
A page is a function from a visit to a `Page`, a deed one from a visit to a `Done` (`answers.py`); both are in `pages/`,
one subject each, and call nothing but the service layer. `live.py` keeps an open page up to date. There is no framework
in the browser: one style sheet per layer and one short script, all from this folder.
"""
