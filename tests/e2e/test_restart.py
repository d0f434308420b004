"""A host daemon that is told to begin anew: the same process id, another epoch, and it answers again."""

import json
import urllib.request
from pathlib import Path

from tests.e2e.daemons import Daemon, free_port, get_json


def test_the_process_begins_anew(tmp_path: Path) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    command = ["cortex.cli.neuron", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with Daemon(command, tmp_path / "log") as daemon:
        before = daemon.wait_for(f"{base}/health")["epoch"]
        request = urllib.request.Request(f"{base}/restart", data=b"{}", method="POST")
        with urllib.request.urlopen(request, timeout=10) as response:
            assert (response.status, json.load(response)) == (202, {"status": "restarting"})
        after = daemon.wait_for(f"{base}/health", lambda health: health["epoch"] != before)
        assert after["status"] == "ok"
        assert daemon.process.poll() is None
        assert get_json(f"{base}/discovery")["epoch"] == after["epoch"]
        assert daemon.stop() == 0, daemon.output()
