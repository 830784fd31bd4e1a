"""The packing job: a reader for each published format, and the stages that make shards.

read (annotations to records with keys) -> mix (one row per key, in hashed order) -> pack (shards).
A reader is a pure function from its files to `records.Record`, or to a reason for each record that
it cannot use; each declares its formats beside it, and `formats` finds them.
"""
