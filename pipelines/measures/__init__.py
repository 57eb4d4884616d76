"""Measures of quality: what is said of samples and recoveries, the judges that say it, and the methods to beat."""
