"""Base images for the demo and the tests, made from Debian packages: no public image registry is asked.

`make(folder)` leaves an OCI image layout in `folder/layout`; what is slow or comes over the network (packages, the
Debian root file systems) is kept beside it and used again. `push(folder, registry)` uploads it over plain HTTP.

This is written with the standard library alone, on purpose: the bases have to be right independently of the program
that is tested on them.
"""

from __future__ import annotations

from bases.build import make
from bases.upload import push

__all__ = ["make", "push"]
