"""Samplers: which rows share a batch, and in which order batches come."""
