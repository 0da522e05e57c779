"""Mobile GPU compilation: compact ONNX through TVM to OpenCL kernels and one package file."""
