"""Benchmarks side by side with the reference plugins: `./build.sh bench --help`."""
