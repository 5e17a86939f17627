"""Backups: back up the database locally and to S3-compatible storage, and restore it."""
