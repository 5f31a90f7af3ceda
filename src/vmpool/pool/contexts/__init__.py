"""Contexts of VMs: kernels that remember, the host's side and the programs that run inside."""
