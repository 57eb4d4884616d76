"""How the stage `learn` learns: a file for each kind of data, and the settings and recipes that they share."""
