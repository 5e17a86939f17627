"""Supervisor: processes started, watched and started again."""
