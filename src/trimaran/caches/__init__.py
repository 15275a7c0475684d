"""Caches that are shared: results of steps, by BuildKit's own keys, in registries, folders, images and buckets."""
