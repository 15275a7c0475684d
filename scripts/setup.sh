# shellcheck shell=sh
# Set-up for ./run, which sources this: Debian packages, the virtual environment with the wheel, binfmt handlers.
# Everything is looked at before it is done, so that a second run only looks.

for_python="ca-certificates python3 python3-venv"
for_engine="crun runc uidmap passt slirp4netns qemu-user-static mount"
for_demo="docker-registry"
for_tests="musl bash-completion zsh fish mmdebstrap skopeo umoci git iproute2 openssh-client openssh-server tmux openssl busybox-static golang-go"

# A virtual machine for what this machine's kernel cannot show.
[ "$(dpkg --print-architecture 2>/dev/null)" != amd64 ] || for_tests="$for_tests qemu-system-x86 e2fsprogs"

bases=${TRIMARAN_BASES:-$work/bases}
temporary=/var/tmp/trimaran-tests # where tests keep what they make
accounts="trimaran-test trimaran-unit" # the ordinary accounts of the rootless tests
bin=$work/venv/bin
case $bases in /*) ;; *) bases=$here/$bases ;; esac
state=$work/state       # what we did to the machine, for ./run clean
binfmt=/proc/sys/fs/binfmt_misc
python=/usr/bin/python3 # Debian's own, whatever else is on PATH

# What an ordinary user's environment says about the network has to reach the part that runs as root.
passed_on=http_proxy,https_proxy,no_proxy,HTTP_PROXY,HTTPS_PROXY,NO_PROXY,SSL_CERT_FILE,SSL_CERT_DIR
passed_on=$passed_on,PIP_CERT,PIP_INDEX_URL,PIP_EXTRA_INDEX_URL,PIP_FIND_LINKS,PIP_DEFAULT_TIMEOUT,REQUESTS_CA_BUNDLE
passed_on=$passed_on,TRIMARAN_BASES,TRIMARAN_ALLOW_SKIP,PYTEST_ADDOPTS,CI

say() { printf '\n==> %s\n' "$*"; }

die() {
	printf 'run: %s\n' "$*" >&2
	exit 1
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		command -v sudo >/dev/null || die "root is needed for: $* (install sudo, or run this as root)"
		sudo --preserve-env="$passed_on" -- "$@"
	fi
}

become_root() { # start again as root, with the same arguments
	if [ "$(id -u)" -eq 0 ]; then
		trap give_back EXIT
		return
	fi
	command -v sudo >/dev/null || die "root is needed for ./run $1 (install sudo, or run this as root)"
	say "./run $1 needs root for packages, mounts and handlers: going on with sudo"
	exec sudo --preserve-env="$passed_on" -- sh "$here/run" "$@"
}

give_back() { # what sudo made in the repository belongs to who called sudo
	if [ -n "${SUDO_UID:-}" ] && [ -d "$work" ]; then
		# Of a store without root, files of other accounts stay what they are.
		find "$work" -user 0 -exec chown -h "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" {} +
	fi
}

persistently() { # networks hiccup: five times, after 5, 10, 15 and 20 seconds
	attempt=1
	until "$@"; do
		[ $attempt -lt 5 ] || return 1
		say "again in $((attempt * 5)) s: $1 did not succeed"
		sleep $((attempt * 5))
		attempt=$((attempt + 1))
	done
}

# set_up PACKAGES [with handlers|with bases]: what every command needs before it can begin. With bases, they are being
# made when it returns, and `await_bases` ends it.
set_up() {
	mkdir -p "$state"
	missing=$(missing_packages "$1")
	announce "$missing" "${2:-}"
	[ -z "$missing" ] || install_packages "$missing"
	[ "${2:-}" != "with bases" ] || begin_bases
	make_environment
	install_wheel
	[ "${2:-}" != "with handlers" ] || register_handlers
}

announce() { # all that is going to change on the machine, before any of it does
	[ -z "$1" ] || say "will install these Debian packages (apt-get): $1"
	[ -z "$2" ] || [ -e $binfmt/register ] || say "will mount the kernel's binfmt_misc at $binfmt"
	[ -z "$2" ] || say "will register QEMU with binfmt_misc for other machines' programs, where nothing does that yet"
	say "all else stays in $work; ./run clean takes everything away again, but for the packages"
}

missing_packages() {
	command -v dpkg-query >/dev/null || die "this set-up is for Debian 12 and its kin; it needs the packages: $1"
	found=
	for package in $1; do
		[ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || found="$found $package"
	done
	echo "${found# }"
}

install_packages() {
	say "installing the packages"
	# No package may start a service of its own: docker-registry would take port 5000.
	held=
	if [ ! -e /usr/sbin/policy-rc.d ]; then
		held=yes
		printf '#!/bin/sh\nexit 101\n' | as_root sh -c 'cat >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d'
	fi
	status=0
	persistently fetch_and_install "$1" || status=$?
	[ -z "$held" ] || as_root rm -f /usr/sbin/policy-rc.d
	[ $status -eq 0 ] || die "apt-get could not install: $1"
	# Nor at the next boot: what we did not find here, nobody wants to be served.
	for service in docker-registry:docker-registry.service openssh-server:ssh.service; do
		case " $1 " in
		*" ${service%%:*} "*) [ ! -d /run/systemd/system ] || as_root systemctl --quiet disable "${service#*:}" ;;
		esac
	done
	printf '%s\n' "$1" | tr ' ' '\n' >>"$state/packages"
}

fetch_and_install() { # downloads are kept, so that trying again fetches only what is not there
	options="-qq -o Acquire::Retries=5 -o DPkg::Lock::Timeout=300 -o APT::Keep-Downloaded-Packages=true"
	# shellcheck disable=SC2086 # lists of words
	as_root apt-get $options -o APT::Update::Error-Mode=any update &&
		as_root env DEBIAN_FRONTEND=noninteractive apt-get $options install -y --no-install-recommends $1 >"$state/apt.log" 2>&1 ||
		{
			tail -n 20 "$state/apt.log" >&2
			return 1
		}
}

fetch_kernel() { # Debian's own, for tests in a virtual machine: taken out of its package, not installed
	[ "$(dpkg --print-architecture)" = amd64 ] && [ ! -e "$work/kernel" ] || return 0
	say "fetching Debian's kernel into .work/kernel"
	rm -rf "$work/kernel.new"
	mkdir "$work/kernel.new"
	persistently download_kernel || die "apt-get could not download the package linux-image-amd64"
	dpkg-deb --extract "$work"/kernel.new/*.deb "$work/kernel.new"
	rm "$work"/kernel.new/*.deb
	mv "$work/kernel.new" "$work/kernel"
}

download_kernel() { # what this depends on has the version in its name
	package=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
	if [ -z "$package" ] || ! (cd "$work/kernel.new" && apt-get -qq -o APT::Sandbox::User=root download "$package"); then
		as_root apt-get -qq -o Acquire::Retries=5 update
		return 1
	fi
}

digest() { # one line for the content of files and folders
	find "$@" -type f ! -name '*.pyc' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum
}

pip() { persistently logged_pip "$@"; }

logged_pip() { # its warnings are about the machine's configuration: of interest only when it does not succeed
	"$bin/python" -m pip --disable-pip-version-check --retries 10 --timeout 60 "$@" >"$state/pip.log" 2>&1 ||
		{
			tail -n 20 "$state/pip.log" >&2
			return 1
		}
}

make_environment() {
	wanted="$("$python" --version) $(digest pyproject.toml)"
	[ "$(cat "$state/environment" 2>/dev/null)" != "$wanted" ] || return 0
	say "making the virtual environment .work/venv with the dependencies in pyproject.toml"
	rm -rf "$work/venv" "$work/wheels" "$state/environment" "$state/wheel"
	"$python" -m venv "$work/venv"
	# The backend lives here too, so that a changed source builds without the network.
	pip install hatchling
	pip wheel --no-build-isolation --wheel-dir "$work/wheels" .
	pip install --find-links "$work/wheels" "$(echo "$work"/wheels/trimaran-*.whl)[test,check,docs]"
	printf '%s\n' "$wanted" >"$state/environment"
	digest src man pyproject.toml >"$state/wheel"
	rm -f "$state/pythons"
}

# Other Pythons than Debian's, where somebody has installed them, are tested with too: here are the wheels for them.
get_other_wheels() {
	versions=$("$bin/python" tests/e2e/stage/pythons.py)
	[ "$(cat "$state/pythons" 2>/dev/null)" != "$versions" ] || return 0
	say "getting the dependencies' wheels for the Pythons of this machine: $versions"
	for version in $versions; do
		pip download --quiet --dest "$work/wheels" --find-links "$work/wheels" --only-binary :all: \
			--python-version "$version" "$(echo "$work"/wheels/trimaran-*.whl)" ||
			say "Python $version is not tested with: not all it needs is published for it"
	done
	printf '%s\n' "$versions" >"$state/pythons"
}

install_wheel() { # the wheel, never the checkout: what is tested is what users get
	wanted=$(digest src man pyproject.toml)
	[ "$(cat "$state/wheel" 2>/dev/null)" != "$wanted" ] || return 0
	say "building and installing the wheel"
	rm -f "$work"/wheels/trimaran-*.whl "$state/wheel"
	pip wheel --no-build-isolation --no-deps --wheel-dir "$work/wheels" .
	pip install --force-reinstall --no-deps "$work"/wheels/trimaran-*.whl
	printf '%s\n' "$wanted" >"$state/wheel"
}

# What is measured has an environment of its own: packages that test tools bring along cost every command milliseconds.
make_bench_environment() {
	measured=$work/bench
	wanted=$(cat "$state/wheel")
	[ "$(cat "$state/bench" 2>/dev/null)" != "$wanted" ] || return 0
	say "making the environment .work/bench with the wheel and its dependencies alone"
	rm -rf "$measured" "$state/bench"
	"$python" -m venv --without-pip "$measured"
	pip --python "$measured/bin/python" install --find-links "$work/wheels" "$work"/wheels/trimaran-*.whl
	printf '%s\n' "$wanted" >"$state/bench"
}

# Base images need no more than packages and Python, and the network and a processor as long as all else together: they
# are made meanwhile. Whichever way this ends, what was begun is ended first, and found by the next run.
begin_bases() {
	say "making the base images in $bases meanwhile (the first time this takes some minutes)"
	PYTHONPATH=tests "$python" -m bases make "$bases" >"$state/bases.log" 2>&1 &
	making=$!
	trap 'wait "$making" || :; give_back' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
}

# Handlers come after the bases, which register one for themselves, where there is none, and take it away again.
await_bases() {
	say "waiting for the base images"
	wait "$making" || {
		tail -n 20 "$state/bases.log" >&2
		die "the base images could not be made: all that was said is in $state/bases.log"
	}
	trap give_back EXIT
	trap - INT TERM
	register_handlers
}

# Handlers that are there stay; those that come are written down for ./run clean.
register_handlers() {
	if [ ! -e $binfmt/register ]; then
		say "mounting binfmt_misc"
		[ -d $binfmt ] || modprobe binfmt_misc || :
		mount -t binfmt_misc binfmt_misc $binfmt || die "binfmt_misc cannot be mounted: programs of other machines cannot run"
		: >"$state/binfmt-mounted"
	fi
	before=$(ls $binfmt)
	say "registering QEMU for the programs of other machines (trimaran binfmt --install all)"
	# What is not there is told here; whatever needs it says so again by name.
	"$bin/trimaran" binfmt --install all >"$state/binfmt.log" 2>&1 || cat "$state/binfmt.log" >&2
	for name in $(ls $binfmt); do
		case " $(echo $before) " in
		*" $name "*) ;;
		*) echo "$name" | tee -a "$state/handlers" ;;
		esac
	done
}
