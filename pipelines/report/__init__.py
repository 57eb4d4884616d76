"""The report of a run: one HTML file with its pictures, players, tables and curves."""

from pipelines.report.report import Report

__all__ = ["Report"]
