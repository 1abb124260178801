"""Benchmarks: each module `bench_*.py` has `run(short: bool) -> list[Figure]`; `python -m tests.bench` runs them all."""
