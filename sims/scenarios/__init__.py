"""The default scenarios, to be read and copied."""
