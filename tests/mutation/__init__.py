"""Mutation: the guards of the code, taken away one by one, and the tests that notice."""
