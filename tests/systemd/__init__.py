"""The packages on a pristine Debian, booted by systemd: `make test-systemd`. Needs root and what `setup.sh packages` brings."""
