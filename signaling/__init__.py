"""The signaling server: it introduces peers to each other and serves what a run is made of.

Nothing is imported here, so that the simulator can take :mod:`signaling.rooms` without aiohttp or
cryptography.
"""
