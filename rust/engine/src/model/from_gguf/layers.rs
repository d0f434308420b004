//! What each layer is, from GGUF metadata.

use super::super::description::{LayerShape, invalid, unsupported};
use super::super::family::Window;
use super::experts;
use super::keys::Keys;
use super::recurrent;
use crate::EngineError;

/// One entry a layer; `ropes` is how many the model has.
pub(super) fn layers(
    keys: Keys,
    layers: usize,
    ropes: usize,
) -> Result<Vec<LayerShape>, EngineError> {
    let window = keys
        .optional_size("attention.sliding_window")?
        .filter(|&window| window > 0);
    let windowed = match window {
        Some(_) => windowed(keys, layers)?,
        None => vec![false; layers],
    };
    let experts = experts::layers(keys, layers)?;
    let recurrent = recurrent::layers(keys, layers)?;
    let layers = windowed.into_iter().zip(experts).zip(recurrent).enumerate();
    let layers = layers.map(|(layer, ((windowed, experts), recurrent))| {
        let interval = keys.family.no_rope_interval;
        let rotated = interval.is_none_or(|interval| !(layer + 1).is_multiple_of(interval));
        LayerShape {
            window: window.filter(|_| windowed),
            rope: rotated.then_some(if windowed { ropes - 1 } else { 0 }),
            experts,
            recurrent,
        }
    });
    Ok(layers.collect())
}

/// Which layers have the window: as the file says for each, by its period, or by the family's rule.
fn windowed(keys: Keys, layers: usize) -> Result<Vec<bool>, EngineError> {
    let key = keys.key("attention.sliding_window_pattern");
    if keys.gguf.is_array(&key) {
        let listed = keys.gguf.arr_bool(&key)?.unwrap_or_default();
        if listed.len() != layers {
            let found = listed.len();
            return Err(invalid(format!(
                "{key} has {found} values for {layers} layers"
            )));
        }
        return Ok(listed);
    }
    let period = match (keys.gguf.get_usize(&key)?, keys.family.window) {
        (Some(0), _) => return Err(invalid(format!("{key} is 0"))),
        (Some(period), _) | (None, Window::AllButLastOf(period)) => period,
        (None, Window::Ignored | Window::Always) => return Ok(vec![true; layers]),
        (None, _) => {
            let architecture = keys.architecture;
            return Err(unsupported(format!(
                "{architecture}: an attention window is not supported"
            )));
        }
    };
    Ok((1..=layers)
        .map(|layer| !layer.is_multiple_of(period))
        .collect())
}
