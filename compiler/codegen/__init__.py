"""Lowered functions to kernels: OpenCL C, and GLSL compiled to SPIR-V."""
