"""Where tensors lie: layouts with halos, and the static plan of one arena."""
