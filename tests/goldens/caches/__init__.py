"""Caches that real BuildKit exported: its digests of ops and contents, and small caches that are imported whole."""
