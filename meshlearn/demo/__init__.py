"""`meshlearn demo`: a server, four peers and a tracker as processes of their own, shown live in the terminal."""
