"""Small text of the pages can be read on every ground, in light and in dark."""

from __future__ import annotations

import re

import pytest

from anomaly_app.web.http import StaticFiles

INKS = ("ink", "soft", "accent", "good", "wait", "bad", "low", "medium", "high", "critical")


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(scheme: int) -> None:
    body = StaticFiles().answer("page.css").body
    assert isinstance(body, bytes)
    roots = re.findall(r":root \{(.*?)\}", body.decode(), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", roots[scheme]))
    weak = {}
    for ink in INKS:
        for ground in ("ground", "panel", "fresh"):
            light, dark = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
            ratio = (light + 0.05) / (dark + 0.05)
            if ratio < 4.5:
                weak[ink, ground] = round(ratio, 2)
    assert weak == {}
