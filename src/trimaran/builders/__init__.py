"""Which builder, which nodes, one request per node: from `BuildOptions` to images (reference §1.3, §2)."""
