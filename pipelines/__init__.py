"""The work: stages in an order, their settings, their run folder."""
