"""A self-hosted pool of isolated virtual machines for running code."""

__version__ = "0.1.0"
