"""The C runtime library, the `act-runner` program on it, and what builds them."""
