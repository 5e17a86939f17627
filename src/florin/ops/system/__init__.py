"""System: processes, ports, users and terminals of the machine."""
