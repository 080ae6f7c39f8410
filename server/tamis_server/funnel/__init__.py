"""Runs the stages of the funnel: the one owner of time, budget, degradation and trace."""
