"""Models of other sizes, seeds and settings than the fixtures', and their GGUF twins."""
