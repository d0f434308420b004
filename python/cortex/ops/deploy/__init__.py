"""Deployment of a fleet over ssh: an inventory, facts of each host, a pure plan, and its careful execution."""
