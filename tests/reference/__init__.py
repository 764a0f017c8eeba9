"""Decoders in plain Python, slow and plain to read: what the compiled kernels are compared with. They share no code with them."""
