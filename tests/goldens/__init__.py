"""What real BuildKit made of Dockerfiles, kept to compare with: one folder per case below cases/.

Written with the standard library (zstandard for zstd layers), so that results are read independently of the program
that is tested on them.
"""
