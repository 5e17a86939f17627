"""Offsite: backups and the log in S3-compatible storage, and the way back from there."""
