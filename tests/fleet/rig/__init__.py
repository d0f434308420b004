"""Hosts that really boot: a root file system, packages, a network of their own, systemd and dnf in each."""
