"""The pipeline file: its types, reading it with positions, checking it, ordering and fingerprinting its stages."""
