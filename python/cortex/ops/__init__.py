"""Operations: the starter model; deploy and validate of a fleet."""
