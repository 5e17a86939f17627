# Tools: sets `tools`, the directory of the programs that requirements/delivery.txt names, with their
# hashes. Before reading it, the caller changes to the checkout.
kept=${XDG_CACHE_HOME:-${HOME:?}/.cache}/florin/delivery-$(cksum <requirements/delivery.txt | tr ' ' '-')
tools=$kept/bin
if [ ! -e "$kept/complete" ]; then
    rm -rf "$kept"
    mkdir -p "${kept%/*}"
    python3 -m venv "$kept"
    "$tools/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
        --only-binary :all: -r requirements/delivery.txt >&2
    : >"$kept/complete"
fi
