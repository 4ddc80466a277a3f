"""What we compare with, each written as its own documentation does it; Redis is BENCH_REDIS."""
