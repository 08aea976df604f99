#!/usr/bin/env bash
# Builds the image, runs it by itself and then as the pod of the Kubernetes manifests, and checks that it starts,
# answers, is confined, and lets a call finish when it is stopped; non-zero when it does not.
# Needs root, podman, kubectl and curl, .venv (make install) for a client, a free port 8001, and debootstrap unless
# BASE names an image with python3 >= 3.11:
#
#   BASE=python:3.13-slim deploy/container.sh
set -euo pipefail
cd "$(dirname "$0")/.."

image=localhost/rt-audio-pipeline
name=rt-audio-check-$$
start_seconds=30 # it must be ready by then
stop_seconds=60  # and ended by then: in the pod, after its notice and a call of 16 seconds
scratch=$(mktemp -d)
pod=$scratch/pod.yaml
clean_up() {
    podman rm --force --ignore --time 0 "$name" || true
    if [[ -s $pod ]]; then podman kube down "$pod" || true; fi
    rm -rf "$scratch"
}
trap 'clean_up &>/dev/null' EXIT

# podman starts no timer for health checks (one is run below), and sets limits that a sandbox may set too.
export DISABLE_HC_SYSTEMD=true CONTAINERS_CONF=$scratch/containers.conf
printf '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=256:256"]\n' >"$CONTAINERS_CONF"

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

# Waits until the container answers; needs its name and address, and since when we wait.
await_ready() {
    until answers /health && answers /ready; do
        running || fail "it ended before it was ready"
        (($(now) - called < start_seconds * 1000)) || fail "not ready after $start_seconds s"
        sleep 0.02
    done
    local ready born
    ready=$(now)
    born=$(podman inspect --format '{{.State.StartedAt.UnixMilli}}' "$name")
    say ready "$((ready - born)) ms after its process began, $((ready - called)) ms after podman was called"
}

stop() {
    local called took code
    called=$(now)
    timeout $((stop_seconds + 30)) podman stop --time "$stop_seconds" "$name" >/dev/null || fail "it did not stop"
    took=$(($(podman inspect --format '{{.State.FinishedAt.UnixMilli}}' "$name") - called))
    code=$(podman inspect --format '{{.State.ExitCode}}' "$name")
    say stopped "exit status $code, $took ms after SIGTERM"
    ((code == 0)) || fail "exit status $code"
}

# Checks what the running process really has, as the kernel tells it.
confined() {
    local status
    status=$(podman exec "$name" cat /proc/1/status)
    for line in 'Uid:.10001.10001' 'Gid:.10001.10001' 'CapPrm:.0000000000000000' 'CapBnd:.0000000000000000' \
        'NoNewPrivs:.1' 'Seccomp:.2'; do
        grep -q "^$line" <<<"$status" || fail "not so in its /proc/1/status: $line"
    done
    if podman exec "$name" touch /tmp/written 2>/dev/null; then fail "its file system can be written"; fi
    say confined "user and group 10001, no capabilities nor new ones, seccomp, nothing can be written"
}

[[ -n ${BASE:-} ]] || debian_base
pip_secrets
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' service/__init__.py)
timeout 900 podman build --quiet --format docker --network host "${secrets[@]}" \
    --build-arg BASE="$BASE" --build-arg VERSION="$version" --tag "$image:$version" . >/dev/null || fail "no image"
say image "$image:$version, $(($(podman image inspect --format '{{.Size}}' "$image:$version") / 1000000)) MB on $BASE"

called=$(now)
timeout 60 podman run --detach --name "$name" --publish 127.0.0.1::8001 --read-only --read-only-tmpfs=false \
    --cap-drop=ALL --security-opt=no-new-privileges "$image:$version" >/dev/null || fail "it did not run"
address=$(podman port "$name" 8001)
await_ready
confined
timeout 30 podman healthcheck run "$name" >/dev/null || fail "its HEALTHCHECK fails"
say health "the image's own check passes"
stop
podman rm "$name" >/dev/null

kubectl kustomize deploy/kubernetes/overlays/podman >"$pod"
called=$(now)
timeout 60 podman kube play "$pod" >/dev/null || fail "podman kube play failed"
name=$(podman ps --filter name='^rt-audio-pod.*-rt-audio$' --format '{{.Names}}')
address=127.0.0.1:8001
say pod "$name, by podman kube play of the laptop overlay"
await_ready
confined
.venv/bin/rt-audio stream tests/data/speech.wav --reply ulaw --url "ws://$address/ws/audio" --token laptop \
    >"$scratch/call" 2>&1 &
call=$!
until curl --noproxy '*' -s "http://$address/metrics" | grep -q '^rt_audio_sessions_active 1'; do
    kill -0 "$call" 2>/dev/null || { cat "$scratch/call" >&2; fail "the call did not come about"; }
    sleep 0.02
done
stop
wait "$call" || { cat "$scratch/call" >&2; fail "the call was cut"; }
say call "$(grep frames "$scratch/call" | tr -s " " | sed "s/ *$//"); it began before SIGTERM and ended by itself"
