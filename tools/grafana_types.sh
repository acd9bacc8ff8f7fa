#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Grafana's published schema (TypeScript types made of its CUE), its registries of units and reducers, and a compiler, by
# npm into a folder: what observability/dashboard-schema checks the dashboard with. Nothing of them is run but the
# compiler and the registries.
# usage: grafana_types.sh DIR      exit status: 0 they are there, 1 they could not be had
set -eu
[ $# = 1 ] || { echo "usage: grafana_types.sh DIR" >&2; exit 2; }
# Versions are part of the test: a newer schema is a decision.
packages="@grafana/schema@13.2.3 @grafana/data@13.2.3 react@19.2.0 react-dom@19.2.0 typescript@5.9.3"
[ "$(cat "$1/packages" 2>/dev/null)" != "$packages" ] || exit 0
command -v npm >/dev/null || { echo "grafana_types.sh: npm is not installed (Debian: npm)" >&2; exit 1; }
mkdir -p "$1"
rm -rf "$1/node_modules" "$1/packages"
echo '{"private": true}' >"$1/package.json"
# shellcheck disable=SC2086
npm install --prefix "$1" --ignore-scripts --no-package-lock --no-audit --no-fund --loglevel=error $packages >&2 || {
	echo "grafana_types.sh: npm could not get: $packages" >&2
	exit 1
}
echo "$packages" >"$1/packages"
