#!/bin/sh
# make.sh COMMIT NUMBER PYTHON: the store of an earlier Trimaran, with what it was made of, in format-NUMBER.tar.gz.
# PYTHON has the dependencies. Run it as root on x86-64 before a format changes; gcc makes the tool that RUN runs.
set -eu
commit=$1 number=$2 python=$3
here=$(cd "$(dirname "$0")" && pwd)
work=/var/tmp/trimaran-format
umask 022
rm -rf "$work"
mkdir -p "$work/context/data" "$work/source"
gcc -Os -nostdlib -static -s -Wl,-n,--build-id=none -fno-asynchronous-unwind-tables -o "$work/context/tool" "$here/tool.c"
echo one >"$work/context/data/one"
echo two >"$work/context/data/two"
cat >"$work/context/Dockerfile" <<'TEXT'
FROM scratch AS made
COPY tool /bin/tool
RUN --mount=type=cache,target=/cache ["/bin/tool"]
FROM scratch
COPY --from=made --chown=7:8 /made /srv/made
COPY data /srv/data/
ENV A=b
CMD ["/srv/made"]
TEXT
git -C "$here/../../.." archive "$commit" src | tar -x -C "$work/source"
export PYTHONPATH="$work/source/src" TRIMARAN_ROOT="$work/store" PYTHONDONTWRITEBYTECODE=1
"$python" -m trimaran build -t kept:1 "$work/context"
"$python" -m trimaran build -t second:2 --label a=b "$work/context"
"$python" -m trimaran images --format '{{.Repository}}:{{.Tag}} {{.Digest}}' >"$work/images"
rm -rf "$work/source"
tar -C "$work" --format=posix --sort=name -czf "$here/format-$number.tar.gz" context store images
rm -rf "$work"
