"""The console as people see it, in Chromium: their ways through it with real processes, and its pages as pictures."""
