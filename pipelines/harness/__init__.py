"""What all jobs share: options, plans, fingerprints, items, leases, launchers and runners.

Planning (`items`, `planfile`, `fingerprint`) knows no Beam; `runners`, `transforms` and
`local_worker` are the only modules that do.
"""
