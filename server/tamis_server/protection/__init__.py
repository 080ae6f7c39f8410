"""Policies that keep a fault, or too much work, from spreading: pure, told the time, without I/O.

``breaker`` leaves an endpoint alone that fails; ``hedging`` bounds second tries; ``quality`` gives
up some candidates for time; ``admission`` refuses what could not be answered in time.
"""
