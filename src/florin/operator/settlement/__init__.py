"""Settlement: an operator that collects for many merchants pays them out."""
