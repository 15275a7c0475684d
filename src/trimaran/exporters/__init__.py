"""Results become images, archives and folders: one file per `type=` keyword."""
