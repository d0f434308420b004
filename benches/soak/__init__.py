"""A soak of the gateway: many requests of every dialect, random faults all the while, and books that must add up."""
