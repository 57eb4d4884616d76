"""Networks in 1, 2 and 3 dimensions whose output is an energy, or the part of one that is learned."""
