"""Demo: a merchant and a load to show a running fleet with."""
