#!/bin/sh
# Prints the size of every image of the compose file, and how much of it is ours: the rest is Python's image.
set -eu
size() { docker image inspect --format '{{.Size}}' "$1"; }
base=$(size "${ROPEWALK_PYTHON_IMAGE:-python:3.11-slim}" 2>/dev/null || echo 0)
printf '  %-18s %8s %8s\n' image MB ours
for name in airflow collect process analyze store present demo cli; do
    whole=$(size "ropewalk-$name:${ROPEWALK_VERSION:-dev}")
    printf '  %-18s %8s %8s\n' "ropewalk-$name" $((whole / 1000000)) $(((whole - base) / 1000000))
done
kernel=$(docker history --no-trunc --format '{{.Size}} {{.CreatedBy}}' --human=false "ropewalk-store:${ROPEWALK_VERSION:-dev}" |
    awk '/install kernel/ { print int($1 / 1000000) }')
printf '  of which the stages and the demo share %s MB: the kernel with Arrow\n' "$kernel"
