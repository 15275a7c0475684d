"""The command line: flags to typed options, events to text, errors to exit codes. The only room that prints."""
