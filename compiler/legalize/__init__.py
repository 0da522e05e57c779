"""Relax operators to our own TIR, one operator family a file."""
