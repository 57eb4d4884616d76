"""Sampling an energy: new x, posteriors, one clip behind its validation gate; chains shared among processes."""
