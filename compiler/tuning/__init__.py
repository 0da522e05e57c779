"""Search for the best kernel of each layer on a real device."""
