"""The public contract of Tamis, v1."""
