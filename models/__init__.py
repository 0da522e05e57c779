"""Networks, data sets and preprocessing: what the toolchain compresses and judges on."""
