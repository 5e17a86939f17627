"""Operator: what who runs Florin may look at over HTTP."""
