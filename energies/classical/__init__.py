"""Classical estimates of hidden values: inpainting by interpolation, kriging, non-local means, and their stacking."""
