"""Java programs for integration tests, fetched with Maven into ``.cache/`` at the root of the repository."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, NamedTuple
from xml.sax.saxutils import escape

from anomaly_app.errors import AnomalyError

PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
TIMEOUT_S = 600


class MavenError(AnomalyError):
    """Java or Maven is missing, or an artifact cannot be had."""

    code: ClassVar[str] = "maven"


class Artifact(NamedTuple):
    """Coordinates of an artifact.

    Args:
        group: such as ``org.apache.kafka``.
        name: such as ``kafka_2.13``.
        version: such as ``4.1.0``.
        type: packaging.
        classifier: of a special build; mostly none.
    """

    group: str
    name: str
    version: str
    type: str = "jar"
    classifier: str = ""


def missing_tools() -> str | None:
    """Why Java programs cannot be fetched and run here, None if they can."""
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    return f"{' and '.join(missing)} not found: install a JDK (17 or later) and Maven" if missing else None


def cache_directory(name: str) -> Path:
    """Directory for what is fetched: ``.cache/<name>`` of the repository, or of the user where there is none."""
    root = Path(__file__).parents[2]
    base = root / ".cache" if (root / "pyproject.toml").is_file() else Path.home() / ".cache" / "anomaly_app"
    directory = base / name
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def fetch(name: str, artifacts: Sequence[Artifact], *, transitive: bool = True) -> Path:
    """Have Maven put artifacts into a directory, once.

    Args:
        name: of the directory below ``.cache/``.
        artifacts: what to fetch.
        transitive: with everything that they depend on.

    Returns:
        The directory with the files, named ``<name>-<version>[-<classifier>].<type>``.

    Raises:
        MavenError: tools are missing, or Maven fails.
    """
    pom = _pom(artifacts, transitive)
    version = hashlib.blake2b(f"{transitive}{pom}".encode(), digest_size=6).hexdigest()
    target = cache_directory(name) / f"jars-{version}"
    with _lock(target.with_suffix(".lock")):
        if not target.is_dir():
            problem = missing_tools()
            if problem:
                raise MavenError(problem)
            with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
                _copy_dependencies(Path(temporary), pom, transitive)
                # Renamed when complete, so that an interrupted fetch is never taken for a whole one.
                (Path(temporary) / "jars").rename(target)
    return target


def _copy_dependencies(directory: Path, pom: str, transitive: bool) -> None:
    (directory / "pom.xml").write_text(pom, "utf-8")
    command = ["mvn", "-q", "-B", f"{PLUGIN}:copy-dependencies", f"-DoutputDirectory={directory / 'jars'}"]
    command += ["-DincludeScope=runtime", f"-DexcludeTransitive={str(not transitive).lower()}"]
    try:
        done = subprocess.run(
            command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise MavenError(f"Maven has not finished within {TIMEOUT_S} s") from error
    if done.returncode:
        raise MavenError(f"Maven failed with status {done.returncode}:\n{(done.stdout + done.stderr)[-2_000:]}")


def _pom(artifacts: Sequence[Artifact], transitive: bool) -> str:
    # Without this Maven still reads the descriptors of all that it will not copy, some from hosts that are not there.
    alone = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
    dependencies = "".join(
        "<dependency>"
        f"<groupId>{escape(group)}</groupId><artifactId>{escape(name)}</artifactId>"
        f"<version>{escape(version)}</version><type>{escape(type_)}</type>"
        f"{f'<classifier>{escape(classifier)}</classifier>' if classifier else ''}{'' if transitive else alone}"
        "</dependency>\n"
        for group, name, version, type_, classifier in artifacts
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>\n'
        "<groupId>anomaly_app</groupId><artifactId>fetch</artifactId><version>1</version><packaging>pom</packaging>\n"
        f"<dependencies>\n{dependencies}</dependencies></project>\n"
    )


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One process at a time: tests may run side by side."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
