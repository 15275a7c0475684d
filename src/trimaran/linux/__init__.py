"""What the kernel can do, as Python values: system calls, walks inside a root, mounts, namespaces, control groups."""
