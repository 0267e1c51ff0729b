"""Chromium with one page, driven over pipes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / ".cache" / "browser"
PLAYWRIGHT = "playwright-core@1.65.1"


class Browser:
    """A browser with one page."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def answer(self) -> Any:
        assert self.process.stdout is not None
        async with asyncio.timeout(150):
            line = await self.process.stdout.readline()
        assert line, "the browser has gone"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    async def do(self, command: str, **options: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"command": command, **options}).encode() + b"\n")
        await self.process.stdin.drain()
        return await self.answer()

    async def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


async def _install() -> None:
    """Playwright without a browser of its own, once; the registry gets three chances."""
    if (PACKAGES / "node_modules" / "playwright-core" / "package.json").exists():
        return
    PACKAGES.mkdir(parents=True, exist_ok=True)
    said = b""
    for pause in (2, 5, 0):
        command = ["npm", "install", "--prefix", str(PACKAGES), "--no-audit", "--no-fund", PLAYWRIGHT]
        npm = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await npm.communicate()
        if npm.returncode == 0:
            return
        await asyncio.sleep(pause)
    pytest.fail(f"npm cannot install {PLAYWRIGHT}: {said.decode(errors='replace')}")


@contextlib.asynccontextmanager
async def start(profile: Path) -> AsyncIterator[Browser]:
    """A browser; skips the test where a program is missing.

    Args:
        profile: a folder for it.
    """
    for program in ("node", "npm", "chromium"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    await _install()
    process = await asyncio.create_subprocess_exec(
        "node",
        str(Path(__file__).with_name("browser.mjs")),
        str(PACKAGES),
        str(shutil.which("chromium")),
        str(profile),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    browser = Browser(process)
    try:
        assert await browser.answer() == "ready"
        yield browser
    finally:
        await browser.close()
