"""Methods side by side: the same network, data, constraint, recipe and budget; one table."""
