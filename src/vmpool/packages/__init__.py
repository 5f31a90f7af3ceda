"""Packages for VMs: registries answered by the server itself, from a cache on its disk.

`registry` answers what package managers ask, `depot` fetches from the upstream registries what is not here
yet and keeps it (`cache`), and `stream` lets a VM's broker speak to it as to any server.
"""
