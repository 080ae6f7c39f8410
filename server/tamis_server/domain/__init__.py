"""The words of the funnel: candidates, requests, errors and ports.

Every other room may import this one; it imports only NumPy and the standard library.
"""
