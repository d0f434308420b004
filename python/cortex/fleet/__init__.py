"""Fleet policy: what runs where; pure functions over one value that describes the whole fleet."""
