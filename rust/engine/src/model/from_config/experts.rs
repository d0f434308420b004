//! Experts from a `config.json`.

use super::super::description::{ExpertsShape, Groups, RouterShape, SharedExpert, invalid};
use super::super::family::{Experts, Shared};
use super::keys::{self, Config};
use crate::EngineError;

/// How many experts the configuration counts, and what the family says of them; `None` for a dense model.
fn counted(config: Config<'_>) -> Result<Option<(usize, Experts)>, EngineError> {
    let Some(rule) = config.family.experts else {
        return Ok(None);
    };
    let count = config.optional_size(rule.count)?;
    Ok(count.filter(|&count| count > 0).map(|count| (count, rule)))
}

/// The experts of a model.
pub(super) fn experts(config: Config) -> Result<Option<ExpertsShape>, EngineError> {
    let Some((count, rule)) = counted(config)? else {
        return Ok(None);
    };
    let width = config.size(rule.width)?;
    Ok(Some(ExpertsShape {
        count,
        used: config.size("num_experts_per_tok")?,
        width,
        router: RouterShape {
            score: rule.score,
            normalised: config.flag("norm_topk_prob")?.unwrap_or(rule.normalised),
            factor: config.number("routed_scaling_factor")?.unwrap_or(1.0),
            groups: groups(config, rule)?,
        },
        stored: rule.stored,
        shared: shared(config, rule)?,
    }))
}

/// One group is none, and so is a method that knows no groups.
fn groups(config: Config, rule: Experts) -> Result<Option<Groups>, EngineError> {
    let count = config.optional_size("n_group")?.filter(|&count| count > 1);
    let greedy = config.optional_text("topk_method")? == Some("greedy");
    let Some(count) = count.filter(|_| !greedy) else {
        return Ok(None);
    };
    Ok(Some(Groups {
        count,
        best: config.size("topk_group")?,
        ranked: rule.ranked,
    }))
}

fn shared(config: Config, rule: Experts) -> Result<Option<SharedExpert>, EngineError> {
    match rule.shared {
        Shared::Counted => {
            let count = config.optional_size("n_shared_experts")?.unwrap_or(0);
            let width = config.size(rule.width)?.saturating_mul(count);
            Ok((count > 0).then_some(SharedExpert {
                width,
                gated: false,
            }))
        }
        Shared::None => Ok(None),
        Shared::Gated => Ok(Some(SharedExpert {
            width: config.size("shared_expert_intermediate_size")?,
            gated: true,
        })),
    }
}

/// Which layers have experts.
pub(super) fn layers(config: Config, layers: usize) -> Result<Vec<bool>, EngineError> {
    if counted(config)?.is_none() {
        return Ok(vec![false; layers]);
    }
    let step = config.optional_size("decoder_sparse_step")?.unwrap_or(1);
    let first = config.optional_size("first_k_dense_replace")?.unwrap_or(0);
    let every = config.optional_size("moe_layer_freq")?.unwrap_or(1);
    let dense = config.list("mlp_only_layers", keys::size)?;
    let dense = dense.unwrap_or_default();
    if step == 0 || every == 0 {
        let text = "config.json: decoder_sparse_step and moe_layer_freq must not be 0";
        return Err(invalid(text.to_owned()));
    }
    let sparse = |layer: usize| {
        let listed = dense.contains(&layer);
        !listed && (layer + 1).is_multiple_of(step) && layer >= first && layer.is_multiple_of(every)
    };
    Ok((0..layers).map(sparse).collect())
}
