"""`ls`: the builders there are. The embedded one always is (reference §1.7)."""

from __future__ import annotations

from trimaran.cli.columns import align
from trimaran.cli.embedded_builder import DRIVER, NAME, NODE, EmbeddedBuilder, describe
from trimaran.cli.invocation import Invocation
from trimaran.cli.options import DEBUG, Command, Flag, Values
from trimaran.cli.template import Record, Template

COMMAND = Command(
    name="ls",
    summary="List builder instances",
    usage="ls",
    flags=(
        DEBUG,
        Flag(name="format", help='Format the output ("table", "json", or a Go template)', default="table"),
        Flag(name="no-trunc", kind="bool", help="Don't truncate output"),
        Flag(name="timeout", kind="duration", hidden=True, ignored=True),
    ),
)
_ROW = " \\_ "
_MAJOR = ("amd64", "arm64", "arm", "ppc64le", "s390x", "riscv64", "mips64")
_MOST_GROUPS = 4


def run(values: Values, invocation: Invocation) -> int:
    builder = describe()
    form = values.text("format")
    if form == "table":
        whole = values.boolean("no-trunc")
        platforms = ", ".join(builder.platforms) if whole else grouped(builder.platforms)
        invocation.out(
            align(
                "NAME/NODE\tDRIVER/ENDPOINT\tSTATUS\tBUILDKIT\tPLATFORMS\n"
                f"{NAME}*\t{DRIVER}\t\t\t\n"
                f"{_ROW}{NODE}\t{_ROW}{builder.endpoint}\trunning\t{builder.version}\t{platforms}\n",
                padding=3,
            )
        )
    elif form == "json":
        invocation.out(Template("{{json .}}").render(builder.json) + "\n")
    else:
        template = Template(form)
        invocation.out("".join(template.render(row) + "\n" for row in rows(builder)))
    return 0


def rows(builder: EmbeddedBuilder) -> list[Record]:
    """What a template is rendered on: the builder's line, then its node's."""
    head = {"Name": NAME, "DriverEndpoint": DRIVER, "Status": "", "Buildkit": "", "Platforms": ""}
    node = {
        "Name": NODE,
        "DriverEndpoint": builder.endpoint,
        "Status": "running",
        "Buildkit": builder.version,
        "Platforms": ", ".join(builder.platforms),
    }
    rest = {"LastActivity": builder.last_activity, "Error": "", "Builder": builder.json}
    return [Record("lsContext", {**fields, **rest}, dict(fields)) for fields in (head, node)]


def grouped(platforms: list[str]) -> str:
    """`linux/amd64 (+3), linux/arm64`: variants counted behind the first of their architecture, four groups shown."""
    groups: dict[str, list[str]] = {}
    for platform in platforms:
        groups.setdefault("/".join(platform.split("/")[:2]), []).append(platform)
    order = {f"linux/{name}": number for number, name in enumerate(_MAJOR)}
    names = sorted(groups, key=lambda name: order.get(name, len(order)))
    shown = [f"{name} (+{len(groups[name]) - 1})" if len(groups[name]) > 1 else name for name in names[:_MOST_GROUPS]]
    left = sum(len(groups[name]) for name in names[_MOST_GROUPS:])
    return ", ".join(shown) + (f", ({left} more)" if left else "")
