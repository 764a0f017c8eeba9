"""A collector's receiving side for tests: real gRPC and TLS on the loopback, and a sender driven by hand."""
