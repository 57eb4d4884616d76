"""What fills in without learning: interpolation, kriging, non-local means, and their stacking."""
