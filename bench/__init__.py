"""The same builds on Trimaran, BuildKit and buildah in one run: times, ratios, budgets, and how cost grows.

    python -m bench                        all workloads, five rounds
    python -m bench run30 files --rounds 7
    python -m bench --growth files         sizes that double, no memory; images compared at the first size

The law of this folder: every tool gets the same context, the same options and a store as cold; a time counts only when
the image that came out is the same. Written with the standard library (zstandard reads zstd layers).
"""
