#!/usr/bin/env bash
# Builds the image, runs it by itself and then as the pod of the Kubernetes manifests, and checks that it starts,
# answers, is confined, and lets a call finish when it is stopped; non-zero when it does not.
# Needs root, podman, catatonit, kubectl, curl and openssl, .venv (make install) for a client, a free port 8001, and
# mmdebstrap unless BASE names an image with python3 >= 3.11:
#
#   BASE=python:3.13-slim deploy/container.sh
set -euo pipefail
cd "$(dirname "$0")/.."

image=localhost/rt-audio-pipeline
name=rt-audio-check-$$
start_seconds=30 # it must be ready by then
most_megabytes=200
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

# A Debian with Python and little else, for a machine that reaches no image registry. Made once a day, with the security
# updates of that day, which mmdebstrap takes where no mirror is named. Without the hook and usr-is-merged, Perl comes too.
debian_base() {
    BASE=localhost/rt-audio-base:bookworm-$(date +%Y%m%d)
    if podman image exists "$BASE"; then return; fi
    timeout 900 mmdebstrap --quiet --variant=essential --include=ca-certificates,python3-venv,usr-is-merged \
        --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --aptopt='APT::Install-Recommends "false"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        bookworm "$scratch/base.tar" &>"$scratch/log" || { tail "$scratch/log" >&2; fail "mmdebstrap failed"; }
    timeout 300 podman import --quiet "$scratch/base.tar" "$BASE" >/dev/null
    local updates
    updates=$(in_image "$BASE" cat /etc/apt/sources.list | grep -c security) || fail "no security updates in the base"
    say base "$BASE, with Debian's security updates ($updates source)"
}

# Runs a program of an image.
in_image() { podman run --rm --network none --entrypoint "$2" "$1" "${@:3}"; }

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

# Checks by the image's SBOM that all in it is pinned, but the service itself, whose source is here.
contents() {
    in_image "$image:$version" cat /opt/venv/sbom.cdx.json >"$scratch/sbom"
    python3 -c 'import json, sys
for part in json.load(sys.stdin)["components"]:
    print(part["name"].lower().replace("_", "-"), part["version"], sep="==")' <"$scratch/sbom" | sort >"$scratch/shipped"
    sed -nE 's/^([a-z][^ ]+==[^ ]+) .*/\1/p' deploy/requirements.txt | sort >"$scratch/pinned"
    [[ $(comm -23 "$scratch/shipped" "$scratch/pinned") == "rt-audio-pipeline==$version" ]] ||
        fail "not pinned: $(comm -23 "$scratch/shipped" "$scratch/pinned" | xargs)"
    say contents "$(wc -l <"$scratch/shipped") Python packages, all in /opt/venv/sbom.cdx.json, all pinned by hash"
}

# Runs the image with the options before `--` and the arguments behind it, until it is ready.
run() {
    local options=()
    while [[ $1 != -- ]]; do options+=("$1"); shift; done
    called=$(now)
    timeout 60 podman run --detach --name "$name" --read-only --read-only-tmpfs=false --cap-drop=ALL \
        --security-opt=no-new-privileges "${options[@]}" "$image:$version" "${@:2}" >/dev/null || fail "it did not run"
}

healthy() { timeout 30 podman healthcheck run "$name" &>/dev/null; }

# Checks that the image's own check passes however the service is told to listen.
healthy_as() {
    local what=$1 called
    run "${@:2}"
    until healthy; do
        running || fail "$what: it ended before it was healthy"
        (($(now) - called < start_seconds * 1000)) || fail "$what: its HEALTHCHECK fails"
        sleep 0.1
    done
    podman rm --force --time 0 "$name" >/dev/null
}

[[ -n ${BASE:-} ]] || debian_base
pip_secrets
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' service/__init__.py)
revision=$(git describe --always --abbrev=40 --dirty --exclude '*')
timeout 900 podman build --quiet --format docker --network host "${secrets[@]}" --build-arg BASE="$BASE" \
    --build-arg VERSION="$version" --build-arg REVISION="$revision" --tag "$image:$version" . >/dev/null ||
    fail "no image"
megabytes=$(($(podman image inspect --format '{{.Size}}' "$image:$version") / 1000000))
say image "$image:$version, $megabytes MB on $BASE"
((megabytes < most_megabytes)) || fail "it has more than $most_megabytes MB"
contents

run --publish 127.0.0.1::8001 --
address=$(podman port "$name" 8001)
await_ready
curl --noproxy '*' -s "http://$address/metrics" | grep -q "^rt_audio_build_info{.*revision=\"$revision\"" ||
    fail "rt_audio_build_info does not say $revision"
confined
healthy || fail "its HEALTHCHECK fails"
process=$(podman inspect --format '{{.State.Pid}}' "$name")
kill -STOP "$process"
if healthy; then fail "its HEALTHCHECK passes although the process stands still"; fi
kill -CONT "$process"
stop
podman rm "$name" >/dev/null

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=elsewhere.example -days 2 \
    -keyout "$scratch/key.pem" -out "$scratch/cert.pem" 2>/dev/null
chmod a+r "$scratch"/*.pem
healthy_as "--port and --host" -- serve --port 9000 --host 127.0.0.1
healthy_as "IPv6" --env RT_AUDIO_HOST=:: --env RT_AUDIO_PORT=9001 --
healthy_as "--init" --init --
healthy_as "TLS" --volume "$scratch/cert.pem:/run/cert.pem:ro" --volume "$scratch/key.pem:/run/key.pem:ro" \
    --env RT_AUDIO_TLS_CERT_FILE=/run/cert.pem --env RT_AUDIO_TLS_KEY_FILE=/run/key.pem --
say health "its own check passes, with --port and --host, IPv6, --init and TLS too; not while the process is stopped"

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
