"""Progress as text: one reducer over events (`trace`), and one pure `(trace, events, now) -> text` per mode."""
