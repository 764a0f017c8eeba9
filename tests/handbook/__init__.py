"""The guides and the reference, as tests and `make reference` see them.

`settings`, `commands` and `errors` write docs/reference from the programs' own objects; `chinese` puts their pages into Chinese by
the catalogues of `zh_cn`; `guides` reads docs/guides.
"""
