"""Trimaran builds container images for many platforms at once.

Nothing heavy is imported here: start-up time is a feature (ARCHITECTURE.md, "Start-up").
"""

__version__ = "0.1.0"
