"""The tar format as image layers use it: headers, a streaming reader with limits, a writer, whiteout names. Pure."""
