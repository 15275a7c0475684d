"""The flag table of `build` (reference §1.3), apart from what is done with it."""

from __future__ import annotations

from trimaran.builders.checks import ENTITLEMENTS
from trimaran.caches.options import TYPES
from trimaran.cli.options import BUILDER, DEBUG, Command, Example, Flag

_NO_ATTESTATIONS = "leave it out, or say --provenance=false --sbom=false: images are built without attestations"
_NO_CALL = "leave it out to build"
_CACHES = tuple(f"type={kind}" for kind in TYPES)

LIMITS = ("memory", "memory-swap", "cpus", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems")
"""Keys of `--resource` and `--build-resource`; `cpus` is ours, the others are buildx's."""
_LIMITS = tuple(f"{key}=" for key in LIMITS)
CONTEXT_MODES = ("exact", "git")
PROGRESS_MODES = ("auto", "none", "plain", "quiet", "rawjson", "tty")

FLAGS = (
    BUILDER,
    DEBUG,
    Flag(name="add-host", kind="strings", help='Add a custom host-to-IP mapping (format: "host:ip")'),
    Flag(
        name="allow",
        kind="stringArray",
        help='Allow extra privileged entitlement (e.g., "network.host", "security.insecure")',
        choices=ENTITLEMENTS,
    ),
    Flag(name="annotation", kind="stringArray", help="Add annotation to the image"),
    Flag(
        name="attest",
        kind="stringArray",
        help='Attestation parameters (only "type=…,disabled=true" for now)',
    ),
    Flag(name="build-arg", kind="stringArray", help="Set build-time variables"),
    Flag(
        name="build-ca",
        kind="stringArray",
        value_name="FILE",
        help='PEM certificates that "RUN" instructions trust while they run; in no layer and no cache key',
        completes="file",
    ),
    Flag(name="build-context", kind="stringArray", help="Additional build contexts (e.g., name=path)"),
    Flag(
        name="build-resource",
        kind="stringArray",
        help='Limits of all RUN steps of the build together (format: "memory=8g,cpus=4")',
        choices=_LIMITS,
    ),
    Flag(
        name="cache-from",
        kind="stringArray",
        help='External cache sources (e.g., "user/app:cache", "type=local,src=path/to/dir")',
        choices=_CACHES,
    ),
    Flag(name="cache-limit", kind="bytes", help="Bytes the store may take on disk, whatever is in it (e.g., 20gb)"),
    Flag(
        name="cache-to",
        kind="stringArray",
        help='Cache export destinations (e.g., "user/app:cache", "type=local,dest=path/to/dir")',
        choices=_CACHES,
    ),
    Flag(name="call", help='Set method for evaluating build ("check", "outline", "targets", "graph")', default="build"),
    Flag(name="cgroup-parent", help='Set the parent cgroup for the "RUN" instructions during build'),
    Flag(name="check", kind="bool", help='Shorthand for "--call=check"'),
    Flag(name="cpus", help="Processors that each RUN step may use (such as 1.5)"),
    Flag(
        name="context-mode",
        help='What of the files of local contexts counts: "exact", or "git" (modes 0644 and 0755 alone)',
        default="exact",
        choices=CONTEXT_MODES,
    ),
    Flag(
        name="fail-on-miss",
        kind="strings",
        value_name="stage",
        bare="*",
        help='Fail with exit code 3 instead of running a step that is not cached (format: "[=stage,…]")',
    ),
    Flag(
        name="file",
        shorthand="f",
        help='Name of the Dockerfile (default: "PATH/Dockerfile")',
        completes="file",
    ),
    Flag(name="iidfile", help="Write the image ID to a file", completes="file"),
    Flag(name="jobs", kind="int", help="RUN steps at the same time (default: twice the number of processors)"),
    Flag(name="label", kind="stringArray", help="Set metadata for an image"),
    Flag(name="load", kind="bool", help='Shorthand for "--output=type=docker"'),
    Flag(
        name="lock",
        help="Take tags, URLs and git refs to be what FILE says, and write down there what it does not say yet",
        value_name="FILE",
        completes="file",
    ),
    Flag(
        name="locked",
        kind="bool",
        help='Refuse what the lock file ("trimaran.lock" without --lock) does not say',
    ),
    Flag(name="memory", shorthand="m", help="Memory that each RUN step may use (such as 2g)"),
    Flag(name="metadata-file", help="Write build result metadata to a file", completes="file"),
    Flag(
        name="network",
        help='Set the networking mode for the "RUN" instructions during build',
        default="default",
        choices=("default", "none", "host"),
    ),
    Flag(name="no-cache", kind="bool", help="Do not use cache when building the image"),
    Flag(name="no-cache-filter", kind="stringArray", help="Do not cache specified stages"),
    Flag(name="offline", kind="bool", help="Take images, URLs and git repositories from this machine alone"),
    Flag(
        name="output",
        shorthand="o",
        kind="stringArray",
        help='Output destination (format: "type=local,dest=path")',
        choices=("type=image", "type=registry", "type=oci", "type=docker", "type=local", "type=tar", "type=cacheonly"),
    ),
    Flag(
        name="platform",
        kind="stringArray",
        help="Set target platform for build",
        environment="DOCKER_DEFAULT_PLATFORM",
        choices=("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386", "linux/ppc64le", "linux/s390x", "local"),
    ),
    Flag(name="policy", kind="stringArray", help="Source policy", unsupported="pin what you use by digest"),
    Flag(
        name="progress",
        help='Set type of progress output ("auto", "none", "plain", "quiet", "rawjson", "tty"). '
        "Use plain to show container output",
        default="auto",
        environment="BUILDKIT_PROGRESS",
        choices=PROGRESS_MODES,
    ),
    Flag(name="provenance", help='Shorthand for "--attest=type=provenance" (only "false" for now)'),
    Flag(name="pull", kind="bool", help="Always attempt to pull all referenced images"),
    Flag(name="push", kind="bool", help='Shorthand for "--output=type=registry"'),
    Flag(name="quiet", shorthand="q", kind="bool", help="Suppress the build output and print image ID on success"),
    Flag(
        name="reproducible",
        kind="bool",
        help="Make the same digest on any day and machine: times of SOURCE_DATE_EPOCH (or 1970) in all that is new",
    ),
    Flag(
        name="resource",
        kind="stringArray",
        help='Limits of each RUN step (format: "memory=2g,cpuset-cpus=0-3")',
        choices=_LIMITS,
    ),
    Flag(name="sbom", help='Shorthand for "--attest=type=sbom" (only "false" for now)'),
    Flag(
        name="secret",
        kind="stringArray",
        help='Secret to expose to the build (format: "id=mysecret[,src=/local/secret]"; with "cache-key=hash" '
        "another secret runs again what uses it)",
    ),
    Flag(name="shm-size", kind="bytes", help="Shared memory size for build containers"),
    Flag(
        name="ssh",
        kind="stringArray",
        help='SSH agent socket or keys to expose to the build (format: "default|<id>[=<socket>|<key>[,<key>]]")',
    ),
    Flag(name="tag", shorthand="t", kind="stringArray", help='Name and optionally a tag (format: "name:tag")'),
    Flag(name="target", help="Set the target build stage to build"),
    Flag(name="ulimit", kind="stringArray", value_name="ulimit", help="Ulimit options"),
    # Hidden, as in buildx: accepted without effect, or limits that only the old builder had.
    Flag(name="compress", kind="bool", hidden=True, ignored=True),
    Flag(name="rm", kind="bool", hidden=True, ignored=True, default="true"),
    Flag(name="force-rm", kind="bool", hidden=True, ignored=True),
    Flag(name="isolation", hidden=True, ignored=True, note="experimental flag --isolation is ignored"),
    Flag(name="security-opt", kind="stringArray", hidden=True, ignored=True, note="flag --security-opt is ignored"),
    Flag(name="squash", kind="bool", hidden=True, ignored=True, note="experimental flag --squash is ignored"),
    Flag(name="print", hidden=True, unsupported=_NO_CALL),
    Flag(name="memory-swap", hidden=True, help="Memory and swap of each RUN step together, -1 for unlimited swap"),
    Flag(name="cpu-shares", shorthand="c", hidden=True, help="Weight of each RUN step among others (1024 is usual)"),
    Flag(name="cpu-period", hidden=True, help="Microseconds that --cpu-quota is of"),
    Flag(name="cpu-quota", hidden=True, help="Microseconds of processor time of each RUN step per period"),
    Flag(name="cpuset-cpus", hidden=True, help="Processors that RUN steps may use (such as 0-3)"),
    Flag(name="cpuset-mems", hidden=True, help="Memory nodes that RUN steps may use"),
)

COMMAND = Command(
    name="build",
    summary="Start a build",
    usage="build [OPTIONS] PATH | URL | -",
    aliases=("b",),
    flags=FLAGS,
    arguments=(1, 1),
    completes="folder",
    description="Build images from a Dockerfile, for one platform or many at once, and push, load or store them.",
    examples=(
        Example("For two platforms, pushed as one image:", "build --platform linux/amd64,linux/arm64 -t REF --push ."),
        Example("Kept in Trimaran's own store, then run:", "build -t app . && trimaran run app"),
        Example("An OCI archive with zstd layers:", "build -o type=oci,dest=app.tar,compression=zstd ."),
        Example("Only the files of a stage:", "build --target out -o ./dist ."),
    ),
)
NOT_DONE = {"attest": _NO_ATTESTATIONS}
