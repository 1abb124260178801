"""Pictures of the run's page: `python -m tools.screenshots [--out DIRECTORY]`.

A real server, real peers and a real Chromium: the page before it begins and while it trains, at 360, 768 and 1440 pixels, in
light and dark. Two of them, as wide as the README wants them, go to docs/images with --readme.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import tempfile
from pathlib import Path

from PIL import Image

from tests.browser.live import Tab, chromium, mesh
from tests.browser.test_page import draw_seven

ROOT = Path(__file__).resolve().parents[1]
SIZES = [(360, 780), (768, 1024), (1440, 900)]
SCHEMES = ("light", "dark")
TRAINING_S = 14.0
# What stands in the README: file name and colours.
README_IMAGES = [("run-page-light.png", "light"), ("training-dark.png", "dark")]
README_BYTES_MAX = 200_000


async def take(out: Path, *, sizes: list[tuple[int, int]], readme: bool) -> list[Path]:
    """Make all pictures; their paths."""
    made: list[Path] = []
    with tempfile.TemporaryDirectory() as directory:
        async with mesh(Path(directory), by="the meshlearn project", goal_accuracy=0.97) as run, chromium() as browser:
            for number in range(3):
                await run.join("--shard", f"{number}/4", "--steps-per-second", "6")
            await run.track()
            await asyncio.sleep(8)
            companion = await run.tab(browser)
            await companion.page.fill("#share", "5", force=True)
            await companion.start()
            for width, height in sizes:
                for scheme in SCHEMES:
                    options = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
                    tab = await run.tab(browser, **options)
                    await tab.page.fill("#share", "5", force=True)
                    await tab.page.wait_for_selector("text=It fetches", timeout=20_000)
                    await asyncio.sleep(1)
                    made.append(await save(tab, out / f"before-{width}-{scheme}.png"))
                    await tab.start()
                    await asyncio.sleep(TRAINING_S)
                    await draw_seven(tab)
                    await asyncio.sleep(1.5)
                    await tab.page.evaluate("scrollTo(0, 0)")
                    made.append(await save(tab, out / f"training-{width}-{scheme}.png"))
                    if readme and width == max(size[0] for size in sizes):
                        images = ROOT / "docs" / "images"
                        for name, wanted in README_IMAGES:
                            if wanted == scheme:
                                source = made[-1] if name.startswith("training") else made[-2]
                                made.append(shrink(source, images / name, height=1580 if name.startswith("training") else 1060))
                    await tab.context.close()
    return made


async def save(tab: Tab, path: Path) -> Path:
    """The whole page as PNG."""
    await tab.page.screenshot(path=path, full_page=True)
    return path


def shrink(source: Path, target: Path, height: int) -> Path:
    """The upper part of a picture in 256 colours, which a flat page does not miss; under 200 kB."""
    image = Image.open(source).convert("RGB")
    image = image.crop((0, 0, image.width, min(image.height, height)))
    image = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    if buffer.tell() > README_BYTES_MAX:
        raise SystemExit(f"{target.name} has {buffer.tell():,} bytes; at most {README_BYTES_MAX:,} are wanted")
    target.write_bytes(buffer.getvalue())
    return target


def main() -> None:
    """Make the pictures and name them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "screenshots")
    parser.add_argument("--width", type=int, choices=[width for width, _ in SIZES], help="only this width")
    parser.add_argument("--readme", action="store_true", help="also write the two pictures of the README to docs/images")
    options = parser.parse_args()
    sizes = [size for size in SIZES if options.width in (None, size[0])]
    options.out.mkdir(parents=True, exist_ok=True)
    for path in asyncio.run(take(options.out, sizes=sizes, readme=options.readme)):
        print(path)


if __name__ == "__main__":
    main()
