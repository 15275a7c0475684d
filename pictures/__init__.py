"""The pictures of the documentation, drawn from real runs of the installed program: `./run pictures`."""
