"""The words that scenarios and command lines have in common; importing them costs nothing."""

from __future__ import annotations

DEFAULTS = ("office-lan", "home-volunteers", "browser-tabs", "mobile-flash-crowd", "extreme")
METHODS = (
    "mesh",
    "one-machine",
    "isolated",
    "parameter-server",
    "task-queue",
    "all-reduce",
    "federated-averaging",
    "d-psgd-ring",
    "d-psgd-regular",
    "ad-psgd",
    "choco-sgd",
    "partitioned-gossip",
    "partitioned-gossip-tokens",
    "epidemic",
    "noloco",
    "naive-8-bit",
)
RULES = ("drift-corrected", "pairwise", "none")
ATTACKS = ("nan", "scale", "flip-signs", "noise", "flip-labels", "replay")
SNAPSHOT_EVERY_S = 60.0
