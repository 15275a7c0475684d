"""Trimaran for Python programs: keywords to `BuildOptions`, and the engine as a process, spoken to in values.

A library must not change the process it is loaded in: the engine's namespaces, signals and mounts are a child's.
"""
