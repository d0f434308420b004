"""Pure codecs: what the clients' dialects say on the wire, and the neutral form between them."""
