from __future__ import annotations

import shutil

import pytest
from certificates import Certificate, self_signed


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    if shutil.which("openssl") is None:
        pytest.skip("openssl not found")
    return self_signed(tmp_path_factory.mktemp("certificate"))
