"""Compression: capture, search, prune, compact, export, and the command line over all of it."""

__version__ = "0.1.0"
