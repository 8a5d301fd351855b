#!/bin/sh
# Installs into /opt/venv what the given extras of pyproject.toml need, in exactly the locked versions, hashes checked.
# What only developers and compilers read of a package (its tests, headers, sources in C) is left out of the image.
set -eu
index=$(cat /run/secrets/index 2>/dev/null || true)
index=${index:-${INDEX_URL:-}}
[ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
extras=
for extra in "$@"; do extras="$extras --extra $extra"; done
# shellcheck disable=SC2086 # one word per extra
/tools/bin/uv pip install --quiet --python /opt/venv/bin/python --no-cache --compile-bytecode --link-mode copy \
    --require-hashes --constraints /lock/requirements.txt --requirements /lock/pyproject.toml $extras
cd /opt/venv/lib/python3*/site-packages
find . -depth -type d \( -name tests -o -name test -o -path ./pyarrow/include \) \
    -not -path './*/testing/*' -exec rm -rf {} +
find . -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.cpp' -o -name '*.h' -o -name '*.hpp' \) -delete
# The SDK describes 400 services of AWS (28 MB): ours talk to object stores, and are let in by STS or SSO.
if [ -d botocore/data ]; then
    find botocore/data -mindepth 1 -maxdepth 1 -type d -not -name s3 -not -name sts -not -name 'sso*' -exec rm -rf {} +
fi
