"""Side-by-side measurements that anyone can rerun: `python -m benchmarks.NAME [--json]`."""
