#!/bin/sh
# python_version.sh VERSION RELEASE: the version that Python's metadata gets (PEP 440). A snapshot's release
# 0.20261125101500.gitabc1234 becomes a development version, which sorts before VERSION as it does for RPM.
version=$1 release=$2
case $release in
  0.*.git*) stamp=${release#0.} && echo "$version.dev${stamp%%.*}" ;;
  *) echo "$version" ;;
esac
