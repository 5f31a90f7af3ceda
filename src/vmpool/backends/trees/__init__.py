"""The tree of files on a VM's disk: as an archive, out of one, and as one checksum.

Everything goes by descriptors of directories and never follows a link, so that what a VM or the sender of an
archive left there leads nowhere else.  `python -m vmpool.backends.trees` is the same as a program of its own,
run as root of a user namespace where files of any mode are to be read and made.
"""
