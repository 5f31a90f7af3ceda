"""What is compared: one module for each family."""
