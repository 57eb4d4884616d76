"""From an expression and experts to one energy."""
