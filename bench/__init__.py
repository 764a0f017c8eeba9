"""Speed and memory, measured next to the databases' own clients in the same run. `python -m bench.run --rows N`."""
