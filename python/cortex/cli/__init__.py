"""Command lines of the gateway and the host daemon."""
