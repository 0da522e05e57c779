"""Pruning solvers: how weights are driven onto the structured set that a plan asks for."""
