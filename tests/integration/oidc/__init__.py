"""Log-in at an identity provider."""
