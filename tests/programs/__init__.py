"""Programs that use the API, by its tokens."""
