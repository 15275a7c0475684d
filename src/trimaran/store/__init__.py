"""What a build keeps: blobs, layers (entry lists and where their bytes are), snapshots, cache records, named images."""
