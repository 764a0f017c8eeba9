"""DDL under load: tables are changed in every way that a DBA changes them, while rows change and the agent is killed.

`tables` says what was done to a table and its rows, and when; `writers` change rows; `statements` change tables;
`judge` holds the platform against what was written.
"""
