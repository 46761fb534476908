"""Root disks of images whose layers are not here yet: what is read of one is fetched then.

A process for each such image (`serve`) outlives hyperd as VMs do.  It has the disk as one file (`linux.fuse`), whose
metadata it has written from the layers' tables of contents, and fetches by ranges of their blobs what is asked for;
when nothing is, it brings the rest, until the image is here like any other.
"""
