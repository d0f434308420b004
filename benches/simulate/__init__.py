"""A simulated fleet under the real policy: seeded, pure, without a clock of its own."""
