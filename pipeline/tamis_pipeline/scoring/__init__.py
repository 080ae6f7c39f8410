"""Recommendations for everybody at once, from a bundle and without a server."""
