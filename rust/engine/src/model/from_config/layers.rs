//! What each layer is, from a `config.json`.

use serde_json::Value;

use super::super::description::{LayerShape, invalid, unsupported};
use super::super::family::Window;
use super::experts;
use super::keys::{self, Config};
use crate::EngineError;

/// One entry a layer; `ropes` is how many the model has.
pub(super) fn layers(
    config: Config,
    layers: usize,
    ropes: usize,
) -> Result<Vec<LayerShape>, EngineError> {
    let rotated = rotated(config, layers)?;
    let window = config
        .optional_size("sliding_window")?
        .filter(|&window| window > 0);
    let windowed = match window {
        Some(_) => windowed(config, &rotated)?,
        None => vec![false; layers],
    };
    let experts = experts::layers(config, layers)?;
    let recurrent = recurrent(config, layers)?;
    let layers = rotated.into_iter().zip(windowed).zip(experts);
    let layers = layers.zip(recurrent);
    let layers = layers.map(|(((rotated, windowed), experts), recurrent)| LayerShape {
        window: window.filter(|_| windowed),
        rope: rotated.then_some(if windowed { ropes - 1 } else { 0 }),
        experts,
        recurrent,
    });
    Ok(layers.collect())
}

/// Which layers have a state in place of attention.
fn recurrent(config: Config, layers: usize) -> Result<Vec<bool>, EngineError> {
    if !config.family.recurrent {
        return Ok(vec![false; layers]);
    }
    if let Some(types) = config.layered("layer_types", layers, has_state)? {
        return Ok(types);
    }
    let key = "full_attention_interval";
    let interval = config.size(key)?;
    if interval == 0 {
        return Err(invalid(format!("config.json: {key} is 0")));
    }
    Ok((1..=layers)
        .map(|layer| !layer.is_multiple_of(interval))
        .collect())
}

/// Whether a layer of this type has a state.
fn has_state(_: &str, value: &Value) -> Result<bool, EngineError> {
    match value.as_str() {
        Some("full_attention") => Ok(false),
        Some("linear_attention") => Ok(true),
        _ => Err(unsupported(format!(
            "layer type {value} is not supported; supported: full_attention, linear_attention"
        ))),
    }
}

/// Which layers rotate queries and keys.
fn rotated(config: Config, layers: usize) -> Result<Vec<bool>, EngineError> {
    let Some(interval) = config.family.no_rope_interval else {
        return Ok(vec![true; layers]);
    };
    if let Some(listed) = config.layered("no_rope_layers", layers, keys::size)? {
        return Ok(listed.into_iter().map(|rotates| rotates != 0).collect());
    }
    let interval = config
        .optional_size("no_rope_layer_interval")?
        .unwrap_or(interval);
    Ok((1..=layers)
        .map(|layer| !layer.is_multiple_of(interval))
        .collect())
}

/// Which layers have the window: 1. none if it is switched off, 2. as `layer_types` says, 3. by the family's rule.
fn windowed(config: Config, rotated: &[bool]) -> Result<Vec<bool>, EngineError> {
    let layers = rotated.len();
    let rule = config.family.window;
    let switch = config.flag("use_sliding_window")?;
    let usual = !matches!(
        rule,
        Window::Switched | Window::SwitchedAll | Window::SwitchedUnknown | Window::WithoutRope
    );
    if rule == Window::Ignored || !switch.unwrap_or(usual) {
        return Ok(vec![false; layers]);
    }
    if let Some(types) = config.layered("layer_types", layers, layer_type)? {
        return Ok(types);
    }
    let all = |windowed: &dyn Fn(usize) -> bool| Ok((0..layers).map(windowed).collect());
    match rule {
        Window::Ignored => all(&|_| false),
        Window::Always | Window::SwitchedAll => all(&|_| true),
        Window::Switched => {
            let first = config.optional_size("max_window_layers")?.unwrap_or(0);
            all(&|layer| layer >= first)
        }
        Window::AllButLastOf(period) => {
            let key = "sliding_window_pattern";
            let given = match config.optional_size(key)? {
                Some(given) => Some(given),
                None => config.optional_size("_sliding_window_pattern")?,
            };
            let period = given.unwrap_or(period);
            if period == 0 {
                return Err(invalid(format!("config.json: {key} is 0")));
            }
            all(&|layer| !(layer + 1).is_multiple_of(period))
        }
        Window::WithoutRope => all(&|layer| !rotated[layer]),
        Window::Unknown | Window::SwitchedUnknown => Err(unsupported(format!(
            "{}: an attention window is not supported",
            config.family.config
        ))),
    }
}

/// Whether a layer of this type has the window.
fn layer_type(_: &str, value: &Value) -> Result<bool, EngineError> {
    match value.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        _ => Err(unsupported(format!(
            "layer type {value} is not supported; supported: full_attention, sliding_attention"
        ))),
    }
}
