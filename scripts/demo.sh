# shellcheck shell=sh
# ./run demo: what a user does, with a registry and base images of our own. Sourced by run, as root.

platforms="linux/amd64 linux/arm64 linux/arm/v7"

demo() {
	say "making the base image in $bases"
	PYTHONPATH=tests "$bin/python" -m bases make "$bases" busybox

	scratch=$work/demo
	rm -rf "$scratch/registry"
	mkdir -p "$scratch"
	say "starting docker-registry on a free port, with the base image in it"
	PYTHONPATH=tests "$bin/python" -m bases serve "$bases" "$scratch/registry" busybox >"$scratch/address" &
	serving=$!
	trap 'kill $serving 2>/dev/null; wait $serving 2>/dev/null; give_back' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	address=$(wait_for_line "$scratch/address") || die "the registry did not start"
	echo "$address"

	# busybox, as the Dockerfile calls it, is looked up at a mirror of docker.io: our registry.
	cat >"$scratch/trimaran.toml" <<-TOML
		[registry."docker.io"]
		mirrors = ["$address"]
	TOML
	chmod -R go+rX "$scratch"
	image=$address/demo:latest

	show build -t "$image" --platform "$(echo $platforms | tr ' ' ',')" --push demo/example
	show imagetools inspect "$image"
	for platform in $platforms; do
		show run --platform "$platform" "$image"
	done
	say "done: one tag, three architectures, no daemon"
}

show() { # a command as a user types it, and what it says
	printf '\n$ trimaran %s\n' "$*"
	as_caller env TRIMARAN_CONFIG="$scratch/trimaran.toml" "$bin/trimaran" "$@" </dev/null
}

as_caller() { # who used sudo for the set-up does the rest as himself: a build needs no root
	if [ "${SUDO_UID:-0}" -ne 0 ]; then
		home=$(getent passwd "$SUDO_UID" | cut -d: -f6)
		setpriv --reuid "$SUDO_UID" --regid "$SUDO_GID" --init-groups env \
			HOME="$home" TRIMARAN_ROOT="$(callers_store)" "$@"
	else
		TRIMARAN_ROOT="$scratch/store" "$@"
	fi
}

callers_store() {
	mkdir -p "$scratch/store"
	chown "$SUDO_UID:$SUDO_GID" "$scratch/store"
	echo "$scratch/store"
}

wait_for_line() { # the first line of a file, when it is there; 60 s at most, as long as what writes it lives
	waited=0
	until [ -s "$1" ]; do
		kill -0 "$serving" 2>/dev/null && [ $waited -lt 600 ] || return 1
		sleep 0.1
		waited=$((waited + 1))
	done
	head -n 1 "$1"
}
