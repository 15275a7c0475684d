"""Real BuildKit's frontend, asked for the graph and config a Dockerfile becomes without running a step of it."""
