"""Builds Forebay's packages: a private tree with an interpreter of its own, the locked wheels and the compiled kernels,
then a .deb and an .rpm of it, then one bundle to carry in on a disk. Begin at `build.py`; `docs/packaging.md` tells why."""
