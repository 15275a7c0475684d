# shellcheck shell=sh
# ./run clean: takes away what the other commands made. Sourced by run, as root.

clean() {
	mkdir -p "$state"
	unmount_below "$work"
	unmount_below "$temporary"
	clean_handlers
	for account in $accounts; do
		! id "$account" >/dev/null 2>&1 || clean_account "$account"
	done
	packages=$(sort -u "$state/packages" 2>/dev/null | tr '\n' ' ')
	say "removing .work, $temporary and the caches of linters"
	rm -rf "$work" "$temporary" .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name .git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
	if [ -n "$packages" ]; then
		say "Debian packages stay, as others may use them by now. They go with:"
		echo "apt-get purge --autoremove $packages"
	fi
}

clean_account() {
	say "removing the account $1"
	unmount_below "$(getent passwd "$1" | cut -d: -f6)"
	# It complains of a mail spool that is not there; a process of the account's own would be a reason to stop.
	userdel --remove "$1" 2>"$state/userdel.log" || die "remove $1: $(cat "$state/userdel.log")"
}

clean_handlers() {
	if [ -s "$state/handlers" ]; then
		say "unregistering handlers: $(echo $(cat "$state/handlers"))"
		while read -r name; do
			[ ! -e "$binfmt/$name" ] || echo -1 >"$binfmt/$name"
		done <"$state/handlers"
	fi
	# Only our own mount, and only when nobody else has put a handler there since.
	if [ -e "$state/binfmt-mounted" ] && [ "$(ls $binfmt)" = "$(printf 'register\nstatus')" ]; then
		umount $binfmt
	fi
}

unmount_below() { # deepest first
	[ -n "$1" ] || return 0
	cut -d' ' -f5 /proc/self/mountinfo | sort -r | while read -r point; do
		case $point in
		"$1"/*) umount -- "$(printf '%b' "$point")" ;;
		esac
	done
}
