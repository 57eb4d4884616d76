"""Classical estimates of hidden values: interpolation, kriging, non-local means, optical flow, and their stacking."""
