"""`python -m meshlearn` is the command `meshlearn`."""

from meshlearn.cli.main import main

main()
