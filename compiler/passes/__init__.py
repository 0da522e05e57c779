"""Rewrites of the ONNX and Relax module, one a file."""
