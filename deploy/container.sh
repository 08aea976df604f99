#!/usr/bin/env bash
# Builds the image, runs it hardened, and checks that it starts, answers and stops; non-zero when it does not.
# Needs root, podman and curl, and debootstrap unless BASE names an image with python3 >= 3.11:
#
#   BASE=docker.io/library/python:3.13-slim deploy/container.sh
set -euo pipefail
export DISABLE_HC_SYSTEMD=true # podman: no timer for the health check, it is run once below
cd "$(dirname "$0")/.."

image=localhost/rt-audio-pipeline
name=rt-audio-check-$$
start_seconds=30 # it must be ready by then
stop_seconds=20  # and, having no session, ended by then
scratch=$(mktemp -d)
trap 'podman rm --force --ignore --time 0 "$name" &>/dev/null || true; rm -rf "$scratch"' EXIT

say() { printf '%-10s %s\n' "$@"; }
now() { date +%s%3N; } # milliseconds

fail() {
    echo "container.sh: $*" >&2
    if podman container exists "$name"; then podman logs "$name" 2>&1 | tail -n 50 >&2; fi
    exit 1
}

# A Debian with Python and little else, for a machine that reaches no image registry. Made once.
debian_base() {
    local root=$scratch/root
    BASE=localhost/rt-audio-base:bookworm
    if podman image exists "$BASE"; then return; fi
    say base "made by debootstrap, some minutes"
    timeout 900 debootstrap --variant=minbase --include=ca-certificates,python3-venv bookworm "$root" \
        >"$scratch/log" || { tail "$scratch/log" >&2; fail "debootstrap failed"; }
    rm -rf "${root:?}"/{dev,usr/share/doc,usr/share/locale,usr/share/man,var/cache/apt,var/lib/apt/lists,var/log}/*
    tar -C "$root" -c . | timeout 300 podman import --quiet - "$BASE" >/dev/null
}

# What this machine's pip knows of indexes and certificates, as build secrets: no layer keeps it.
pip_secrets() {
    local conf=$scratch/pip.conf ca
    { python3 -m pip config list 2>/dev/null || true; } |
        sed -nE "s/^[^.]+\.((extra-)?index-url|trusted-host|proxy|cert)='(.*)'$/\1 = \3/p" |
        sed -E 's|\\n| |g; s|file:[^ ]*||g' | sort -u -t= -k1,1 >"$scratch/found"
    ca=$(sed -n 's/^cert = //p' "$scratch/found")
    { echo '[global]'; sed 's|^cert = .*|cert = /run/pip-ca.pem|' "$scratch/found"; } >"$conf"
    secrets=(--secret "id=pip_conf,src=$conf" ${ca:+--secret "id=pip_ca,src=$ca"})
}

answers() { [[ $(curl --noproxy '*' -s -m 2 -o /dev/null -w '%{http_code}' "http://$address$1") == 200 ]]; }
running() { [[ $(podman inspect --format '{{.State.Running}}' "$name") == true ]]; }

[[ -n ${BASE:-} ]] || debian_base
pip_secrets
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' service/__init__.py)
timeout 900 podman build --quiet --format docker --network host "${secrets[@]}" \
    --build-arg BASE="$BASE" --build-arg VERSION="$version" --tag "$image:$version" . >/dev/null || fail "no image"
say image "$image:$version, $(($(podman image inspect --format '{{.Size}}' "$image:$version") / 1000000)) MB on $BASE"

# The limits are given because podman's own are above what a sandbox may set.
called=$(now)
timeout 60 podman run --detach --name "$name" --publish 127.0.0.1::8001 \
    --read-only --read-only-tmpfs=false --cap-drop=ALL --security-opt=no-new-privileges --user 10001:10001 \
    --ulimit nofile=4096:4096 --ulimit nproc=256:256 "$image:$version" >/dev/null || fail "it did not run"
address=$(podman port "$name" 8001)
until answers /health && answers /ready; do
    running || fail "it ended before it was ready"
    (($(now) - called < start_seconds * 1000)) || fail "not ready after $start_seconds s"
    sleep 0.02
done
ready=$(now)
born=$(podman inspect --format '{{.State.StartedAt.UnixMilli}}' "$name")
say ready "$((ready - born)) ms after its process began, $((ready - called)) ms after podman run"
timeout 30 podman healthcheck run "$name" >/dev/null || fail "its HEALTHCHECK fails"
say health "the image's own check passes"

called=$(now)
timeout $((stop_seconds + 30)) podman stop --time "$stop_seconds" "$name" >/dev/null || fail "it did not stop"
took=$(($(podman inspect --format '{{.State.FinishedAt.UnixMilli}}' "$name") - called))
code=$(podman inspect --format '{{.State.ExitCode}}' "$name")
say stopped "exit status $code, $took ms after SIGTERM"
((code == 0)) || fail "exit status $code"
