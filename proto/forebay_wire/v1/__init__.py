"""Generated from proto/forebay/v1 by proto/generate.py."""
