"""The command line: `meshlearn demo | serve | new | join | track | data | bench`, and what other packages add."""

from meshlearn.cli.main import app, main

__all__ = ["app", "main"]
