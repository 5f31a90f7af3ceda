"""Templates that are built step by step, in VMs of their own."""
