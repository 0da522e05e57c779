"""Stages of a round: search an action, drive the weights onto it, purify, compact, retrain.

Each is one function over the run's workbench; a finished stage is replayed from its record in the run folder.
"""
