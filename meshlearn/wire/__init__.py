"""Bytes to messages and back: codecs, quantisers, frames and limits. Imports errors, numpy and zstandard, nothing else."""
