# Sourced by the scripts beside it: a Python environment with the project in it.
# After `environment run` (or `environment test`), $python is its interpreter.
#
# The environment is .venv in the checkout.  XAPI_PY_PYTHON names an interpreter
# that has everything already; then nothing is made and nothing installed.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
python=${XAPI_PY_PYTHON:-$venv/bin/python}

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

as_root() { [ "$(id -u)" = 0 ]; }

# apt_install PACKAGE...: on Debian as root; false where that is not possible.
apt_install() {
    as_root && command -v apt-get >/dev/null || return 1
    echo "installing $* with apt-get" >&2
    local output
    output=$(
        export DEBIAN_FRONTEND=noninteractive
        { apt-get -qq update && apt-get -qq install -y --no-install-recommends "$@"; } 2>&1
    ) || {
        echo "$output" >&2
        return 1
    }
}

# What the installation depends on: another answer means it is made anew.
_fingerprint() {
    (
        cd "$root"
        echo "$root $1"
        readlink -f "$python"
        ls -d */__init__.py
        cat setup.cfg pyproject.toml
    ) | sha256sum | cut -d' ' -f1
}

_make_venv() {
    command -v python3 >/dev/null || apt_install python3 || fail "python3 is missing"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed; this is $(python3 --version)"
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        apt_install python3-venv ||
            fail "the venv module is missing; as root: apt-get install python3-venv"
    fi
    rm -rf "$venv"
    python3 -m venv "$venv" || fail "cannot make $venv"
}

# environment run|test: make sure of the environment, fast when it is there.
environment() {
    local want=$1 stamp extras=""
    [ -z "${XAPI_PY_PYTHON:-}" ] || return 0
    stamp=$(_fingerprint "$want")
    [ "$(cat "$venv/.installed-$want" 2>/dev/null)" != "$stamp" ] || return 0
    exec 8>"$root/.venv.lock"
    flock 8
    if [ "$(cat "$venv/.installed-$want" 2>/dev/null)" != "$stamp" ]; then
        "$python" -m pip --version >/dev/null 2>&1 || _make_venv
        [ "$want" = run ] || extras="[$want]"
        echo "installing the project into $venv" >&2
        "$python" -m pip install --quiet --disable-pip-version-check --no-input \
            --editable "$root$extras" >&2 || fail "the installation failed (see above)"
        [ "$want" = run ] || _fingerprint run >"$venv/.installed-run"
        _fingerprint "$want" >"$venv/.installed-$want"
    fi
    exec 8>&-
}
