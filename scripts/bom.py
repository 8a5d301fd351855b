"""Writes the bill of materials of the locked packages: CycloneDX 1.6 as JSON, the same bytes for the same lock."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from pip_requirements_parser import InstallRequirement, RequirementsFile

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Write it to standard output."""
    sys.stdout.write(bill(ROOT / "requirements.txt", ROOT / "pyproject.toml") + "\n")


def bill(lock: Path, project: Path) -> str:
    """The bill of all that a lock names, with the digest of each file that may be installed."""
    bom = Bom(components=map(_component, RequirementsFile.from_file(str(lock)).requirements))
    about = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    bom.metadata.component = Component(
        name=about["name"], version=about["version"], type=ComponentType.APPLICATION
    )
    bom.metadata.component.bom_ref.value = about["name"]
    bom.register_dependency(bom.metadata.component, bom.components)
    bom.serial_number = uuid5(NAMESPACE_URL, lock.read_text(encoding="utf-8"))
    bom.metadata.timestamp = None  # type: ignore[assignment] # the same lock, the same bill
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1)


def _component(locked: InstallRequirement) -> Component:
    name, version = locked.name, str(locked.specifier).removeprefix("==")
    url = PackageURL("pypi", name=name, version=version)
    digests = [
        HashType(alg=HashAlgorithm.SHA_256, content=one.removeprefix("sha256:"))
        for one in locked.hash_options
    ]
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(f"https://pypi.org/project/{name}/{version}/"),
        hashes=digests,
    )
    return Component(
        name=name, version=version, purl=url, bom_ref=str(url), external_references=[files]
    )


if __name__ == "__main__":
    main()
