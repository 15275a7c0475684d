"""The build graph: ops as frozen data, vertices and edges, their wire form (LLB), and the API to write them in."""
