"""Configuration: TOML files and environment become frozen values, or an error that says where and what instead."""

from cortex.config.auth import AuthConfig, CorsConfig, KeyLimits, NeuronAuthConfig, NeuronTlsConfig, TlsConfig
from cortex.config.gateway import (
    AdmissionSection,
    EvictionConfig,
    GatewayConfig,
    GatewaySection,
    NeuronPeer,
    ResponsesConfig,
    UsageSection,
    catalogue_path,
    load_gateway,
    split_address,
)
from cortex.config.loader import Loaded
from cortex.config.models import ModelProfile, ModelsConfig, load_models
from cortex.config.neuron import AdmissionConfig, CandleConfig, DefaultModel, NeuronConfig, SourceConfig, load_neuron

__all__ = [
    "AdmissionConfig",
    "AdmissionSection",
    "AuthConfig",
    "CandleConfig",
    "CorsConfig",
    "DefaultModel",
    "EvictionConfig",
    "GatewayConfig",
    "GatewaySection",
    "KeyLimits",
    "Loaded",
    "ModelProfile",
    "ModelsConfig",
    "NeuronAuthConfig",
    "NeuronConfig",
    "NeuronPeer",
    "NeuronTlsConfig",
    "ResponsesConfig",
    "SourceConfig",
    "TlsConfig",
    "UsageSection",
    "catalogue_path",
    "load_gateway",
    "load_models",
    "load_neuron",
    "split_address",
]
