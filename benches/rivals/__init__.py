"""Our engine and another, measured in turn on the same file."""
