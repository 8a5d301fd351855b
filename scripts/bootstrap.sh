#!/bin/sh
# Makes .venv with exactly the locked packages (versions and hashes of requirements.txt) and this project in it, editable.
# Does nothing when that is already so. PYTHON names the interpreter to use, where several are installed.
set -eu
exec >&2  # the output of `make env` is for a shell to evaluate
cd "$(dirname "$0")/.."

stamp=.venv/.locked
wanted=$(cat requirements.txt pyproject.toml scripts/bootstrap.sh | cksum)
if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

started=$(date +%s)
step() {
    printf '  \033[32m✓\033[0m %s  %s s\n' "$1" "$(($(date +%s) - started))"
    started=$(date +%s)
}
fail() { printf '\033[31mError:\033[0m %s\n' "$1" >&2; exit 1; }

python=
for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail "no Python 3.11 to 3.14 is on the PATH; install one, or name one: make up PYTHON=/path/to/python3.12"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python has no venv module; Debian and Ubuntu have it in the package python3-venv"

printf 'Installing the locked packages into .venv (once)\n'
[ -x .venv/bin/python ] || "$python" -m venv .venv
step "virtual environment, $(.venv/bin/python --version)"

# uv itself comes from the lock too: its own lines of it, hashes included, are what pip is given.
awk '/^[a-z0-9]/ { mine = /^uv==/ } mine' requirements.txt > .venv/uv.txt
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r .venv/uv.txt
step "uv"

.venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes requirements.txt
step "$(grep -c '^[a-z0-9]' requirements.txt) packages"

.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
step "ropewalk"

printf '%s\n' "$wanted" > "$stamp"
