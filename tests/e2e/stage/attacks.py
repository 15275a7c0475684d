"""Archives that try to leave their folder, each as some unpacker was once led out by it; and honest ones like them."""

from __future__ import annotations

import tarfile
from pathlib import Path

from stage.hostile import folder, hard_link, link, plain

Members = list[tuple[tarfile.TarInfo, bytes]]
EVIL = b"written by an archive\n"


def escapes(victim: Path) -> dict[str, Members]:
    """By the name of what they try. `victim` has a file `canary` that everybody may write."""
    canary = f"{victim}/canary"
    up = "../" * 30 + str(victim).lstrip("/")
    return {
        "a file by dots (CVE-2007-4559, CVE-2026-28406)": [(plain(f"{up}/written"), EVIL)],
        "a file by its absolute name": [(plain(f"{victim}/written"), EVIL)],
        "a file through a link (CVE-2026-50162)": [(link("out", str(victim)), b""), (plain("out/written"), EVIL)],
        "a file through a link upwards": [(link("out", up), b""), (plain("out/written"), EVIL)],
        "a file through a chain of links": [
            (folder("deep"), b""),
            (link("deep/one", ".."), b""),
            (link("two", "deep/one/" + up), b""),
            (plain("two/written"), EVIL),
        ],
        "over a link to a file": [(link("file", canary), b""), (plain("file"), EVIL)],
        "a hard link by its absolute name": [(hard_link("file", canary, 0o777), b""), (plain("file"), EVIL)],
        "a hard link by dots": [(hard_link("file", f"{up}/canary", 0o777), b""), (plain("file"), EVIL)],
        "a hard link from where we stand (CVE-2026-50163)": [(hard_link("file", "canary", 0o777), b"")],
        "a hard link to a link (CVE-2021-32760)": [
            (link("link", canary), b""),
            (hard_link("file", "link", 0o6777), b""),
            (plain("file"), EVIL),
        ],
        "a hard link through a link": [(link("out", str(victim)), b""), (hard_link("file", "out/canary", 0o777), b"")],
        "the root as a link (CVE-2021-29136)": [(link("./", str(victim)), b""), (plain("written"), EVIL)],
        "a folder over a link (CVE-2014-9356)": [
            (link("out", str(victim)), b""),
            (folder("out"), b""),
            (plain("out/written"), EVIL),
        ],
        "names longer than PATH_MAX (CVE-2025-4517)": _long(victim),
        "a link whose text changes (CVE-2025-4330)": [
            (folder("a"), b""),
            (link("a/b", "../" * 5 + "x"), b""),
            (hard_link("c", "a/b"), b""),
            (link("x", up), b""),
            (plain("c/written"), EVIL),
        ],
        "a deletion by dots": [(plain(f"{up}/.wh.canary"), b"")],
        "a deletion through a link": [(link("out", str(victim)), b""), (plain("out/.wh.canary"), b"")],
        "all of a folder hidden through a link": [(link("out", str(victim)), b""), (plain("out/.wh..wh..opq"), b"")],
        "a deletion of dots": [(folder("a"), b""), (plain("a/.wh..."), b"")],
        "a deletion of nothing": [(plain(".wh."), b"")],
        "something in a deletion": [(plain(".wh./x"), EVIL)],
    }


def _long(victim: Path) -> Members:
    """Folders and links that together are longer than the kernel resolves; realpath(3) then stops half way."""
    part, path, members = "d" * 247, "", []
    for letter in "abcdefghijklmnop":
        members += [(folder(path + part), b""), (link(path + letter, part), b"")]
        path += f"{part}/"
    short = "/".join("abcdefghijklmnop")
    members += [(link(f"{short}/{'l' * 254}", "../" * 16), b"")]
    members += [(link("escape", f"{short}/{'l' * 254}/../../../../../..{victim}"), b"")]
    return [*members, (hard_link("file", "escape/canary", 0o777), b""), (plain("escape/written"), EVIL)]


def look_alikes() -> Members:
    """What such archives are mistaken for: links with many dots that stay inside, links to links, odd names."""
    return [
        (folder("real"), b""),
        (plain("real/file", 0o640), b"real\n"),
        (link("dots", "../../../../../../../../real/file"), b""),
        (link("absolute", "/real"), b""),
        (link("folder", "real"), b""),
        (plain("absolute/through"), b"through\n"),
        (plain("folder/too"), b"too\n"),
        (plain("implied/parents/file"), b"implied\n"),
        (hard_link("hard", "real/file"), b""),
        (hard_link("harder", "hard"), b""),
        (hard_link("/by-absolute-name", "/real/file"), b""),
        (hard_link("through-a-link", "folder/file"), b""),
        (link("dash", "real/file"), b""),
        (hard_link("linked-link", "dash"), b""),
        (link("dangling", "/nowhere/../at/all"), b""),
        (plain("..data"), b"dots\n"),
        (plain("..."), b"three\n"),
        (plain(".wh"), b"no deletion\n"),
        (plain("..wh.x"), b"nor this\n"),
        (plain("a.wh.b"), b"nor that\n"),
        (plain("A"), b"large\n"),
        (plain("a"), b"small\n"),
    ]


LOOK_ALIKES = {
    "real/through": "through\n",
    "real/too": "too\n",
    "implied/parents/file": "implied\n",
    "harder": "real\n",
    "by-absolute-name": "real\n",
    "through-a-link": "real\n",
    "dots": "real\n",
    "linked-link": "real\n",
    "..data": "dots\n",
    "...": "three\n",
    ".wh": "no deletion\n",
    "..wh.x": "nor this\n",
    "a.wh.b": "nor that\n",
    "A": "large\n",
    "a": "small\n",
}
"""What can be read of them where they were unpacked as `/`."""
