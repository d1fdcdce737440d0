"""The benchmarks: `python -m benchmarks`, or `make bench`. Every figure stands beside its goal and beside bare Ray."""
