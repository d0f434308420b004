#!/bin/sh
# Install our wheel and its dependencies as a virtual environment that belongs to no build folder:
#   install_tree.sh BUILDROOT NAME WHEELS OUR_WHEEL COMMAND...
# makes BUILDROOT/usr/lib/NAME, links to its commands in /usr/bin, man pages and completions. No network.
set -eu
root=$1 name=$2 wheels=$3 wheel=$4
shift 4
here=$(cd "$(dirname "$0")/../.." && pwd)
abi=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
tree=/usr/lib/$name
site=$tree/lib/python$abi/site-packages

python3 -m venv build-venv
build-venv/bin/python -m pip install --quiet --no-index --no-deps --no-compile --disable-pip-version-check \
  --find-links "$wheels" --target "$root$site" --requirement "$here/requirements.txt" "$wheel"
rm -rf "$root$site/bin" "$root$site"/*.dist-info/direct_url.json build-venv
# Wheels often carry the symbols of their build: 20 MB that nothing here reads.
! command -v strip >/dev/null || find "$root$site" -name '*.so*' -type f -exec strip --strip-unneeded {} +
mkdir -p "$root$tree/bin" "$root/usr/bin"
ln -s "../../../bin/python$abi" "$root$tree/bin/python3"
printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = %s\n' "$abi" > "$root$tree/pyvenv.cfg"
for command in cortex neuron; do
  printf '#!%s/bin/python3 -I\nfrom cortex.cli.%s import main\n\nmain()\n' "$tree" "$command" > "$root$tree/bin/$command"
  chmod 755 "$root$tree/bin/$command"
done
for command; do
  ln -s "../lib/$name/bin/$command" "$root/usr/bin/$command"
done
PYTHONPATH=$root$site PYTHONDONTWRITEBYTECODE=1 python3 -P "$here/rpm/tools/manual.py" --out manual "$@"
for command; do
  gzip -9n "manual/man/$command.1"
  install -Dpm 644 "manual/man/$command.1.gz" "$root/usr/share/man/man1/$command.1.gz"
  install -Dpm 644 "manual/completions/bash/$command" "$root/usr/share/bash-completion/completions/$command"
  install -Dpm 644 "manual/completions/zsh/_$command" "$root/usr/share/zsh/site-functions/_$command"
  install -Dpm 644 "manual/completions/fish/$command.fish" "$root/usr/share/fish/vendor_completions.d/$command.fish"
done
rm -rf manual
find "$root$tree" -name __pycache__ -prune -exec rm -rf {} +
python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$root" -p / "$root$site"
