"""Readers of the forms in which data sets come; :mod:`meshlearn.learning.datasets` chooses between them."""
