#!/usr/bin/env bash
# Installs the servers that `hush-bench compare --peers all` measures beside the relay: nats-server, mosquitto and
# redis-server as Debian has them, and iroh-relay from crates.io. None of them is started here.
#
#   bench/peers.sh [DIRECTORY]    where iroh-relay goes (DIRECTORY/bin); cargo's own by default
#
# With a DIRECTORY, say --peers-root DIRECTORY to hush-bench, or add DIRECTORY/bin to the PATH.
set -euo pipefail

iroh_relay_version=1.4.1

has() { PATH="$PATH:/usr/local/sbin:/usr/sbin" command -v "$1" >/dev/null; }

missing=()
for program in nats-server mosquitto redis-server; do
    has "$program" || missing+=("$program")
done
if [ ${#missing[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "please install: ${missing[*]}" >&2
        exit 1
    fi
    sudo=""
    [ "$(id -u)" -eq 0 ] || sudo="sudo"
    $sudo apt-get update -qq
    # The packages would start what they install, also in competition with a measurement (policy-rc.d, 101: not allowed).
    policy=/usr/sbin/policy-rc.d
    if ! [ -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
        $sudo chmod +x "$policy"
        trap '$sudo rm -f "$policy"' EXIT
    fi
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

root="${1:-${CARGO_HOME:-$HOME/.cargo}}"
if ! [ -x "$root/bin/iroh-relay" ]; then
    cargo install iroh-relay --version "$iroh_relay_version" --locked --features server --root "$root"
fi
