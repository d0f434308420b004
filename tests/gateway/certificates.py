"""Certificates for tests: an authority and what it signed, made by the openssl program."""

import shutil
import subprocess
from pathlib import Path

import pytest


class Authority:
    """One certificate authority in a folder; `issue` gives (cert, key) for 127.0.0.1 or for a client."""

    def __init__(self, folder: Path, name: str) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("the openssl program is not installed")
        self._folder = folder
        self._name = name
        self.ca, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        _openssl("req", "-x509", *_new_key(self._key), "-out", self.ca, "-subj", f"/CN={name}", "-days", "2")

    def issue(self, name: str) -> tuple[str, str]:
        cert, key = self._folder / f"{self._name}-{name}.pem", self._folder / f"{self._name}-{name}.key"
        request, extra = cert.with_suffix(".csr"), cert.with_suffix(".ext")
        extra.write_text("subjectAltName=IP:127.0.0.1\n")
        _openssl("req", *_new_key(key), "-out", request, "-subj", f"/CN={name}")
        signed = ("-CA", self.ca, "-CAkey", self._key, "-CAcreateserial", "-days", "2", "-extfile", extra)
        _openssl("x509", "-req", "-in", request, "-out", cert, *signed)
        return str(cert), str(key)


def _new_key(path: Path) -> tuple[str | Path, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path)


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=30)
