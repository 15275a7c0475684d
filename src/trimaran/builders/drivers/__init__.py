"""Where an engine is: one file per driver."""
