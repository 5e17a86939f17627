"""Operator: the routes for the operator of the installation."""
