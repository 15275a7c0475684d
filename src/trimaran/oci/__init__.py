"""OCI and Docker image formats: descriptors, manifests, indexes, configs, and places that hold their bytes."""
