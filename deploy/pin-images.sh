#!/usr/bin/env bash
# Adds to each image's tag the digest that its registry has now (image:tag@sha256:…),
# in the files of this repository that name images. Run it again to update the digests.
# It changes nothing unless it gets all of them.
set -euo pipefail
cd "$(dirname "$0")/.."

files=(Dockerfile docker-compose.yml)

fail() {
	echo "pin-images: $1; nothing was changed" >&2
	exit 1
}

# What follows FROM or image: and has a tag. A build stage and our own image have none.
images=$(sed -nE 's/^(FROM|[[:space:]]+image:)[[:space:]]+([^[:space:]@]+:[^[:space:]@]+)(@[^[:space:]]+)?([[:space:]].*)?$/\2/p' "${files[@]}" | sort -u)
[ -n "$images" ] || fail "no image with a tag in ${files[*]}"

complaint=$(mktemp)
trap 'rm -f "$complaint"' EXIT
edits=()
while read -r image; do
	if ! digest=$(timeout 60 docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$image" 2>"$complaint"); then
		fail "no digest for $image: $(head -n 1 "$complaint")"
	fi
	[[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || fail "no digest for $image in what docker printed"
	edits+=(-e "s#^((FROM|[[:space:]]+image:)[[:space:]]+${image//./\\.})(@[^[:space:]]+)?([[:space:]].*)?\$#\\1@$digest\\4#")
	echo "$image@$digest"
done <<<"$images"

sed -E -i "${edits[@]}" "${files[@]}"
