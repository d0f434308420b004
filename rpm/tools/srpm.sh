#!/bin/sh
# Make the source packages: srpm.sh OUT PYTHON [SPEC...]
#   OUT     folder for SOURCES and the .src.rpm files
#   PYTHON  the target's version of Python, for example 3.14: its wheels are vendored
# The version is the tag v1.2.3 that the checkout stands on, else that of pyproject.toml as a snapshot, whose release
# 0.<UTC time of the commit>.git<id> grows with every commit and stays below that of the version to come.
# PREBUILT=path/to/_native.abi3.so makes helexa-neuron of that engine, without vendored crates.
set -eu
out=$(mkdir -p "$1" && cd "$1" && pwd)
python=$2
shift 2
[ "$#" -gt 0 ] || set -- cortex helexa-neuron
tree=$(cd "$(dirname "$0")/../.." && pwd)
cd "$tree"
command -v rpmbuild >/dev/null || { echo "rpmbuild is missing: dnf install rpm-build, or: apt-get install rpm" >&2; exit 1; }

if tag=$(git describe --exact-match --match 'v[0-9]*' 2>/dev/null); then
  version=${tag#v} release=1
else
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -n 1)
  release=0.$(TZ=UTC git log -1 --date=format-local:%Y%m%d%H%M%S --format=%cd).git$(git rev-parse --short=7 HEAD)
fi
version=${CORTEX_VERSION:-$version}
release=${CORTEX_RELEASE:-$release}
sources=$out/SOURCES
mkdir -p "$sources"
rm -f "$out"/*.src.rpm
name=helexa-cortex-$version

git archive --prefix="$name/" --output="$sources/$name.tar.gz" HEAD
python3 "$tree/rpm/tools/wheels.py" --requirements requirements.txt --python "$python" --out "$out/wheels"
tar -C "$out" --sort=name --mtime=@0 --owner=0 --group=0 -cf "$sources/$name-wheels.tar" wheels
bcond=--without
if [ -n "${PREBUILT:-}" ]; then
  bcond=--with
  cp "$PREBUILT" "$sources/_native.abi3.so"
  : > "$sources/$name-crates.tar"
else
  cargo vendor --quiet --locked "$out/vendor" >/dev/null
  # Unpacked in the root of the sources, it has cargo use what lies beside it and no network.
  mkdir -p "$out/.cargo"
  printf '[source.crates-io]\nreplace-with = "vendored"\n\n[source.vendored]\ndirectory = "vendor"\n' \
    > "$out/.cargo/config.toml"
  tar -C "$out" --sort=name --mtime=@0 --owner=0 --group=0 -cf "$sources/$name-crates.tar" .cargo vendor
fi
for spec; do
  {
    echo "%global cortex_version $version"
    echo "%global cortex_release $release"
    echo "%global python3_version $python"
    [ "$bcond" = --without ] || echo "%global _with_prebuilt --with-prebuilt"
    cat "rpm/$spec.spec"
  } > "$out/$spec.spec"
  rpmbuild -bs --quiet --define "_topdir $out" --define "_sourcedir $sources" --define "_srcrpmdir $out" "$out/$spec.spec"
done
ls "$out"/*.src.rpm
