"""The gateway: knows the fleet, executes its policy's decisions, proxies, translates, meters."""
