"""Client of OCI distribution registries: a repository is a place with content (`oci.Blobs`)."""
