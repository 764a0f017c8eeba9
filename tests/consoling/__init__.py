"""The console in tests: the real application behind its real server, and people who use it with cookies and forms."""
