//! Rotary positions from a `config.json`, in the older style (`rope_theta`, `rope_scaling`) and the newer
//! (`rope_parameters`, also one for each kind of layer).

use super::super::description::{invalid, unsupported};
use super::super::rope::{
    Llama3Scaling, LongScaling, Rope, RopeKind, RopeScaling, YarnScaling, long_magnitude,
    yarn_magnitude,
};
use super::keys::{self, Config};
use crate::EngineError;

/// What `rope_theta` is where nothing says it.
const THETA: f32 = 10_000.0;

/// The ropes of a model; with two the second is that of layers with a window.
pub(super) fn ropes(config: Config, head_dim: usize) -> Result<Vec<Rope>, EngineError> {
    let parameters = parameters(config);
    let reader = |parameters, theta| Reader {
        config,
        parameters,
        theta,
    };
    let theta = config.number("rope_theta")?;
    let by_kind = parameters.part("full_attention");
    if !by_kind.value.is_null() {
        let local = reader(
            parameters.part("sliding_attention"),
            config.number("rope_local_base_freq")?,
        );
        let ropes = [reader(by_kind, theta), local];
        return ropes.iter().map(|reader| reader.rope(head_dim)).collect();
    }
    let mut ropes = vec![reader(parameters, theta).rope(head_dim)?];
    if config.family.local_rope {
        ropes.push(Rope {
            theta: config.needed("rope_local_base_freq")?,
            scaling: RopeScaling::None,
            ..ropes[0].clone()
        });
    }
    Ok(ropes)
}

/// The newer style keeps everything in `rope_parameters`.
pub(super) fn parameters(config: Config<'_>) -> Config<'_> {
    let newer = config.part("rope_parameters");
    if newer.value.is_null() {
        config.part("rope_scaling")
    } else {
        newer
    }
}

/// One rope: its parameters and the configuration around them.
struct Reader<'a> {
    config: Config<'a>,
    parameters: Config<'a>,
    /// Where the parameters do not say.
    theta: Option<f32>,
}

impl Reader<'_> {
    fn rope(&self, head_dim: usize) -> Result<Rope, EngineError> {
        let given = self.parameters.value.get("rope_theta");
        let given = given
            .map(|value| keys::number("rope_theta", value))
            .transpose()?;
        let dims = self.dims(head_dim)?;
        Ok(Rope {
            kind: self.kind()?,
            theta: given.or(self.theta).unwrap_or(THETA),
            dims,
            scaling: self.scaling()?,
        })
    }

    fn kind(&self) -> Result<RopeKind, EngineError> {
        let usual = self.config.family.config_rope;
        if !self.config.family.latent {
            return Ok(usual);
        }
        Ok(match self.config.flag("rope_interleave")? {
            None => usual,
            Some(true) => RopeKind::Interleaved,
            Some(false) => RopeKind::HalfSplit,
        })
    }

    fn dims(&self, head_dim: usize) -> Result<usize, EngineError> {
        let key = "partial_rotary_factor";
        let inside = self.parameters.value.get(key);
        let inside = inside.map(|value| keys::number(key, value)).transpose()?;
        let share = match inside {
            Some(share) => Some(share),
            None => self.config.number(key)?,
        };
        match share {
            None => Ok(head_dim),
            Some(share) if share > 0.0 && share <= 1.0 => Ok((head_dim as f32 * share) as usize),
            Some(share) => Err(invalid(format!("config.json: {key} is {share}"))),
        }
    }

    fn scaling(&self) -> Result<RopeScaling, EngineError> {
        let rope = self.parameters;
        if rope.value.is_null() {
            let usual = self.config.family.usual_stretch;
            return Ok(usual.map_or(RopeScaling::None, RopeScaling::Yarn));
        }
        let kind = match rope.optional_text("rope_type")? {
            Some(kind) => Some(kind),
            None => rope.optional_text("type")?,
        };
        match kind {
            None | Some("default") => Ok(RopeScaling::None),
            Some("linear") => Ok(RopeScaling::Linear(rope.needed("factor")?)),
            Some("llama3") => Ok(RopeScaling::Llama3(Llama3Scaling {
                factor: rope.needed("factor")?,
                low_freq_factor: rope.needed("low_freq_factor")?,
                high_freq_factor: rope.needed("high_freq_factor")?,
                original_context: rope.needed("original_max_position_embeddings")?,
            })),
            Some("yarn") => self.yarn(),
            Some("longrope" | "su") => self.long(),
            Some(other) => Err(unsupported(format!(
                "rope scaling {other:?} is not supported; supported: default, linear, llama3, yarn, longrope"
            ))),
        }
    }

    /// The context before the stretching, inside the parameters or beside them.
    fn original_context(&self) -> Result<Option<usize>, EngineError> {
        let key = "original_max_position_embeddings";
        match self.parameters.optional_size(key)? {
            Some(size) => Ok(Some(size)),
            None => self.config.optional_size(key),
        }
    }

    fn yarn(&self) -> Result<RopeScaling, EngineError> {
        let rope = self.parameters;
        let context = self.config.size("max_position_embeddings")?;
        let original = self.original_context()?.unwrap_or(context) as f32;
        let factor = rope.number("factor")?.unwrap_or(context as f32 / original);
        let weights = [rope.number("mscale")?, rope.number("mscale_all_dim")?];
        let implied = match weights.map(|weight| weight.unwrap_or(0.0)) {
            [above, below] if above != 0.0 && below != 0.0 => {
                yarn_magnitude(factor, above) / yarn_magnitude(factor, below)
            }
            _ => yarn_magnitude(factor, 1.0),
        };
        Ok(RopeScaling::Yarn(YarnScaling {
            factor,
            original_context: original,
            beta_fast: rope.number("beta_fast")?.unwrap_or(32.0),
            beta_slow: rope.number("beta_slow")?.unwrap_or(1.0),
            truncate: rope.flag("truncate")?.unwrap_or(true),
            magnitude: rope.number("attention_factor")?.unwrap_or(implied),
        }))
    }

    fn long(&self) -> Result<RopeScaling, EngineError> {
        let rope = self.parameters;
        let context = self.config.size("max_position_embeddings")?;
        let original = self.original_context()?;
        // Where both contexts are known, their ratio goes before a factor.
        let factor = match original {
            Some(original) => context as f32 / original as f32,
            None => rope.number("factor")?.unwrap_or(1.0),
        };
        let original = original.unwrap_or(context);
        let factors = |key| {
            let list = rope.list(key, keys::number)?;
            list.ok_or_else(|| keys::missing(key))
        };
        let implied = long_magnitude(factor, original);
        Ok(RopeScaling::Long(LongScaling {
            short: factors("short_factor")?,
            long: factors("long_factor")?,
            original_context: original,
            magnitude: rope.number("attention_factor")?.unwrap_or(implied),
        }))
    }
}
