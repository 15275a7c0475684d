"""Solving a graph: what is wanted, what runs when, which earlier result serves. Knows no step, store or network."""
