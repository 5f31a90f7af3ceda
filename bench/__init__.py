"""Side-by-side benchmarks: every contender measured in one run, turn by turn."""
