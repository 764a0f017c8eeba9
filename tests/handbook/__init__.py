"""The guides and the reference, as tests and `make reference` see them.

`settings`, `commands` and `errors` write docs/reference from the programs' own objects; `guides` reads docs/guides.
"""
