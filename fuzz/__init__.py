"""Coverage-guided fuzzing of everything that reads bytes a VM sends.  `make fuzz SECONDS=20`."""
