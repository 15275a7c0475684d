"""Record what a real `buildx imagetools inspect` says: `record.py IMAGE`, with docker and buildx on PATH.

`documents/` gets every manifest, config and statement of the image by digest; `N.format` a template and `N.out` its text.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
ACCEPT = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
FORMATS = [
    "",
    "{{json .}}",
    "{{json .Manifest}}",
    "{{.Manifest}}",
    "{{.Name}}",
    "{{json .Image}}",
    '{{range .Manifest.Manifests}}{{.Digest}} {{.Platform}}{{"\\n"}}{{end}}',
    '{{printf "%s|%v" .Name .Manifest.Size}}',
    "{{json .Provenance}}",
    "{{json .SBOM}}",
    "{{len .Manifest.Manifests}}",
    '{{json (index .Image "linux/amd64")}}',
    "{{range $k, $v := .Image}}{{$k}}={{$v.Architecture}} {{end}}",
    "{{(index .Manifest.Manifests 0).Platform.OS}}",
    '{{range .Manifest.Manifests}}{{if ne .Platform.OS "unknown"}}{{.Platform.OS}}/{{.Platform.Architecture}},{{end}}{{end}}',
]


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": ACCEPT})) as answer:  # noqa: S310
        data: bytes = answer.read()
        return data


def main() -> None:
    image = sys.argv[1]
    host, _, rest = image.partition("/")
    repository, _, tag = rest.rpartition(":")
    base = f"http://{host}/v2/{repository}"
    documents = HERE / "documents"
    documents.mkdir(exist_ok=True)
    index = fetch(f"{base}/manifests/{tag}")
    (documents / "index").write_bytes(index)
    for child in json.loads(index)["manifests"]:
        manifest = fetch(f"{base}/manifests/{child['digest']}")
        (documents / child["digest"].partition(":")[2]).write_bytes(manifest)
        parsed = json.loads(manifest)
        layers = [layer for layer in parsed["layers"] if "in-toto" in layer["mediaType"]]
        for blob in (parsed["config"], *layers):
            (documents / blob["digest"].partition(":")[2]).write_bytes(fetch(f"{base}/blobs/{blob['digest']}"))
    (HERE / "NAME").write_text(image)
    for number, template in enumerate(FORMATS):
        flags = ["--format", template] if template else []
        argv = ["docker", "buildx", "imagetools", "inspect", *flags, image]
        (HERE / f"{number}.format").write_text(template)
        (HERE / f"{number}.out").write_bytes(subprocess.run(argv, capture_output=True, check=True).stdout)


if __name__ == "__main__":
    main()
