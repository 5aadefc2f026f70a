"""Benchmarks: what Heed costs, always beside the same work done bare. Nothing of the service imports it."""
