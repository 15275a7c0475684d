"""Running a process on a rootfs: the runtime's spec, the runtimes, network, emulation."""
