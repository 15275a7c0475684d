"""No deadlines per example: on a busy machine they fail without a fault."""

from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
