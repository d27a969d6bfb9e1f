"""What `benchmarks/run.py` measures, each part in a module with a function `measure`."""
