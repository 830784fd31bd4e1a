"""Planning: what a run reads, in which pieces, and whether that is still the same run.

Plain functions on the launcher: no Beam, no row is looked at. `inputs` finds files and
reads footers, `items` cuts them into work items, `fingerprint` tells runs apart, and
`planfile` keeps a stage's items in files that every launcher and worker reads.
"""
