"""The command that makes pictures of the page makes them, in both themes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tools import screenshots


async def test_pictures_of_the_page_are_made_in_light_and_dark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screenshots, "TRAINING_S", 3.0)
    made = await screenshots.take(tmp_path, sizes=[(360, 780)], readme=False)
    assert [path.name for path in made] == [
        "before-360-light.png",
        "training-360-light.png",
        "before-360-dark.png",
        "training-360-dark.png",
    ]
    light, dark = (Image.open(tmp_path / f"before-360-{scheme}.png").convert("L") for scheme in ("light", "dark"))
    assert light.width == dark.width == 360
    assert light.getpixel((2, 2)) > 200
    assert dark.getpixel((2, 2)) < 60
