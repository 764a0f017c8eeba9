"""Configuration: `load.py` reads the files into `model.py`'s frozen objects, `watch.py` follows them as they change."""
