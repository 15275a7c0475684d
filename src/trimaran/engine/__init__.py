"""The embedded engine: one build from request to exported image, on the store of this machine."""
