"""Search for how much of each layer to prune, over one `Action` type."""
