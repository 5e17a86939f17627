"""Ops: run a fleet of parts. It deals with processes and health, not with gift cards."""
