"""Workers: benchmarks of the queue and of long jobs."""
