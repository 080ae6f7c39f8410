"""Encoders of texts and pictures, behind one port: where towers come from differs, nothing else."""
