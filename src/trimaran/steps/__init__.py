"""Ops become steps that run: one file per op. A step decides what it reads (its key) and makes the result."""
