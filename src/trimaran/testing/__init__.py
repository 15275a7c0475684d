"""Fakes and faults that ship with the product: a registry that misbehaves, random images."""
