"""Payments: looks at payment gateways and records what they say; moves no money by itself."""
