"""Detectors, each declared by a file of this folder: `forms` lists them, `load` loads one by name.

- `glip`, `hf`, `oracle`, `blobs`, `module`: the declarations, with the code where it is small.
- `agreement`, `rescore`: wrappers around any detector.
- `boxes`, `hf_families`: parts. `oracle_coco`: writes files that the oracle reads.
"""
