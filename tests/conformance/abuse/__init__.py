"""Programs that try to hurt their host, their neighbours or their own VM, run on every real backend."""
