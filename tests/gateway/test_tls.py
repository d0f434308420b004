"""TLS at both listeners, and mutual TLS between gateway and host: real handshakes on loopback."""

from pathlib import Path

import pytest

from cortex.config import (
    GatewayConfig,
    GatewaySection,
    ModelProfile,
    ModelsConfig,
    NeuronPeer,
    NeuronTlsConfig,
    TlsConfig,
)
from cortex.config.source import gateway_files
from cortex.errors import ConfigError, UpstreamError
from cortex.fleet.state import Reach
from cortex.gateway.app import Gateway
from cortex.http import UpstreamClient, client_context, listener_tls
from tests.gateway.certificates import Authority
from tests.gateway.rig import CHAT, LOOPBACK, TEXT, Rig, chat
from tests.neuron.rig import Rig as HostRig
from tests.neuron.rig import running as host_running

pytestmark = pytest.mark.anyio


def gateway_for(
    host: HostRig, own: tuple[str, str], neuron_tls: NeuronTlsConfig, metrics_tls: TlsConfig | None = None
) -> Gateway:
    config = GatewayConfig(
        gateway=GatewaySection(
            listen=LOOPBACK,
            metrics_listen=LOOPBACK,
            poll_secs=0.1,
            drain_secs=0.1,
            tls=TlsConfig(cert=own[0], key=own[1]),
            metrics_tls=metrics_tls,
        ),
        neurons=(NeuronPeer(name="beast", endpoint=host.neuron.url),),
        neuron_tls=neuron_tls,
    )
    models = ModelsConfig(models=(ModelProfile(id="alpha", source=host.source("alpha")),))
    return Gateway(gateway_files(config, models, {}))


async def test_everything_works_over_mutual_tls_and_nothing_without_the_certificate(tmp_path: Path) -> None:
    ours, other = Authority(tmp_path, "ours"), Authority(tmp_path, "other")
    server, client = ours.issue("server"), ours.issue("client")
    tls = TlsConfig(cert=server[0], key=server[1], client_ca=str(ours.ca))
    async with host_running(tmp_path, tls=tls) as host:
        assert host.neuron.url.startswith("https://")
        gateway = gateway_for(host, server, NeuronTlsConfig(ca=str(ours.ca), cert=client[0], key=client[1]))
        await gateway.start()
        try:
            async with UpstreamClient(tls=client_context(ca=str(ours.ca), cert=None, key=None)) as asking:
                rig = Rig(gateway, asking)
                await rig.sees(lambda fleet: fleet.hosts["beast"].serving)
                answer = await rig.post(CHAT, chat())
                assert answer.json["choices"][0]["message"]["content"] == TEXT
                streamed = await rig.post(CHAT, chat(stream=True))
                assert streamed.body.endswith(b"data: [DONE]\n\n")
        finally:
            await gateway.stop()
        stranger = other.issue("client")
        for cert in ((None, None), stranger):
            context = client_context(ca=str(ours.ca), cert=cert[0], key=cert[1])
            async with UpstreamClient(tls=context) as asking:
                with pytest.raises(UpstreamError):
                    async with asking.open("GET", f"{host.neuron.url}/health") as response:
                        await response.read(1000)


async def test_a_host_with_a_certificate_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    ours, other = Authority(tmp_path, "ours"), Authority(tmp_path, "other")
    foreign = other.issue("server")
    async with host_running(tmp_path, tls=TlsConfig(cert=foreign[0], key=foreign[1])) as host:
        gateway = gateway_for(host, ours.issue("server"), NeuronTlsConfig(ca=str(ours.ca)))
        await gateway.start()
        try:
            async with UpstreamClient(tls=client_context(ca=str(ours.ca), cert=None, key=None)) as asking:
                await Rig(gateway, asking).sees(lambda fleet: fleet.hosts["beast"].reach is Reach.DOWN)
        finally:
            await gateway.stop()


async def test_the_metrics_port_speaks_tls_and_asks_for_a_certificate(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    server, client = ours.issue("server"), ours.issue("client")
    own = TlsConfig(cert=server[0], key=server[1], client_ca=str(ours.ca))
    async with host_running(tmp_path) as host:
        gateway = gateway_for(host, server, NeuronTlsConfig(), own)
        await gateway.start()
        url = f"{gateway.metrics_server.url}/metrics"
        assert url.startswith("https://")
        try:
            context = client_context(ca=str(ours.ca), cert=client[0], key=client[1])
            async with UpstreamClient(tls=context) as asking, asking.open("GET", url) as response:
                assert b"cortex_build_info" in await response.read(1 << 24)
            context = client_context(ca=str(ours.ca), cert=None, key=None)
            async with UpstreamClient(tls=context) as asking:
                with pytest.raises(UpstreamError):
                    async with asking.open("GET", url) as response:
                        await response.read(1000)
        finally:
            await gateway.stop()


async def test_a_client_that_leaves_is_known_over_tls_too(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    server = ours.issue("server")
    async with host_running(tmp_path, tls=TlsConfig(cert=server[0], key=server[1])) as host:
        context = client_context(ca=str(ours.ca), cert=None, key=None)
        async with UpstreamClient(tls=context) as asking:
            async with asking.open("GET", f"{host.neuron.url}/events") as response:
                assert response.status == 200
                await anext(response.chunks())
                assert host.neuron.host.events.listeners == 1
            while host.neuron.host.events.listeners:
                async with asking.open("GET", f"{host.neuron.url}/health") as response:
                    await response.read(10_000)


def test_files_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    cert, key = ours.issue("server")
    (tmp_path / "broken.pem").write_text("nothing")
    with pytest.raises(ConfigError, match="no such file"):
        listener_tls(str(tmp_path / "none.pem"), key, None)
    with pytest.raises(ConfigError, match=r"broken\.pem"):
        listener_tls(cert, str(tmp_path / "broken.pem"), None)
    with pytest.raises(ConfigError, match=r"broken\.pem"):
        client_context(ca=str(tmp_path / "broken.pem"), cert=None, key=None)
