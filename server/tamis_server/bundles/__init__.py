"""Bundles: everything immutable that serving needs, in one verified directory.

``manifest`` and ``features`` are the format, shared with the pipeline; the rest is the server's.
"""
