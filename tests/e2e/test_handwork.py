"""A gateway process that is killed: the next one knows what was done by hand."""

import json
import urllib.request
from pathlib import Path

from tests.e2e.daemons import Daemon, free_port, get_json


def post(url: str, body: object) -> None:
    request = urllib.request.Request(url, data=json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=10) as response:
        assert json.load(response)["kept"] is True


def test_pins_and_duties_outlive_the_process(tmp_path: Path) -> None:
    api = free_port()
    base = f"http://127.0.0.1:{api}"
    hosts = "".join(f'[[neurons]]\nname = "{name}"\nendpoint = "http://127.0.0.1:{free_port()}"\n' for name in "ab")
    (tmp_path / "cortex.toml").write_text(
        f'[gateway]\nlisten = "127.0.0.1:{api}"\nmetrics_listen = "127.0.0.1:{free_port()}"\n'
        f'state_file = "handwork.json"\n{hosts}'
    )
    (tmp_path / "models.toml").write_text('[[models]]\nid = "one"\n')
    command = ["cortex.cli.cortex", "serve", "-c", str(tmp_path / "cortex.toml")]
    with Daemon(command, tmp_path / "first.log") as daemon:
        daemon.wait_for(f"{base}/health")
        post(f"{base}/api/admin/models/pin", {"model": "one", "host": "a"})
        post(f"{base}/api/admin/hosts/a/cordon", {})
        post(f"{base}/api/admin/hosts/b/drain", {})
        daemon.kill()
    with Daemon(command, tmp_path / "second.log") as daemon:
        daemon.wait_for(f"{base}/health")
        fleet = get_json(f"{base}/api/fleet")
        assert [host["duty"] for host in fleet["hosts"]] == ["cordoned", "drained"]
        assert fleet["models"][0]["pinned_on"] == ["a"]
        assert daemon.stop() == 0, daemon.output()
