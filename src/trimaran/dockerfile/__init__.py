"""The Dockerfile language: text to instructions to stages to a graph (reference §3), served as a frontend."""
