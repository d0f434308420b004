#!/bin/sh
# release.sh VERSION: check that the tree can be released as VERSION, and tag it. Changes no file: what is tagged is what
# was reviewed. Publishing the tag (git push origin vVERSION) and the artefacts (make artefacts) is up to you.
set -eu
version=${1:-}
fail() { echo "$*" >&2; exit 1; }
case $version in
  [0-9]*.[0-9]*.[0-9]*) ;;
  *) fail "write make release VERSION=1.2.3" ;;
esac
[ -z "$(git status --porcelain)" ] || fail "there are changes that are not committed: git status"
grep -q "^## $version\$" CHANGELOG.md || fail "CHANGELOG.md has no section '## $version': rename Unreleased"
python=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml | head -n 1)
rust=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
[ "$python" = "$version" ] || fail "pyproject.toml says $python"
[ "$rust" = "$version" ] || fail "Cargo.toml says $rust in [workspace.package]"
git rev-parse --quiet --verify "refs/tags/v$version" >/dev/null && fail "the tag v$version is there already"
{ echo "cortex $version"; echo; sed -n "/^## $version\$/,/^## /{/^## /!p;}" CHANGELOG.md; } |
  git tag --annotate --cleanup=whitespace --file=- "v$version"
echo "tagged v$version; next: make artefacts, then git push origin v$version"
