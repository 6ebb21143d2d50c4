"""The image, of the frozen suite as it stands: what the Containerfile's last stage makes."""

import io
import json
import tarfile
from pathlib import Path

from tests import lab
from tests.deploy.manifests import DEPLOY
from tests.runtimes.image import save

CONTAINERFILE = DEPLOY / "image/Containerfile"


def build(bin_dir: Path, place: Path, name: str) -> Path:
    """Write the image of the programs in `bin_dir` to an archive in `place`; return it."""
    root = place / "root"
    lab.run(f"{DEPLOY}/image/root.sh {bin_dir} {root}")
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        archive.add(root, arcname=".")
    return save(place / "image.tar", name, layer.getvalue(), config())


def config() -> dict[str, list[str]]:
    """Return what the Containerfile says of the image, besides its files."""
    last_stage = CONTAINERFILE.read_text().rpartition("\nFROM ")[2].splitlines()[1:]
    said = dict(line.split(maxsplit=1) for line in last_stage if line)
    return {"Env": [said["ENV"]], "Entrypoint": json.loads(said["ENTRYPOINT"])}
