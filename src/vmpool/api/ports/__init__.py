"""Servers in VMs, reached from outside: by key (`routes`), or by link at hosts of their own (`hosts`)."""
