"""The daemon on each host: devices, sources, the life of models, and its routes."""
