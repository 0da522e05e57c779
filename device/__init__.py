"""Devices: the package format, the runtime that executes it, and honest latency measurement."""
