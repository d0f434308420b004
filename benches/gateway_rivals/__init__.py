"""Our gateway beside others, all in front of one mock upstream."""
