//! Experts from GGUF metadata.

use super::super::description::{
    ExpertsShape, Groups, RouterShape, Score, SharedExpert, unsupported,
};
use super::super::family::{Experts, Shared, Stored};
use super::keys::Keys;
use crate::EngineError;

/// How many experts the metadata counts, and what the family says of them; `None` for a dense model.
fn counted(keys: Keys<'_>) -> Result<Option<(usize, Experts)>, EngineError> {
    let count = keys.optional_size("expert_count")?;
    match (count.filter(|&count| count > 0), keys.family.experts) {
        (None, _) => Ok(None),
        (Some(count), Some(rule)) => Ok(Some((count, rule))),
        (Some(count), None) => Err(unsupported(format!(
            "{}: {count} experts are not supported",
            keys.architecture
        ))),
    }
}

/// The experts of a model.
pub(super) fn experts(keys: Keys) -> Result<Option<ExpertsShape>, EngineError> {
    let Some((count, rule)) = counted(keys)? else {
        return Ok(None);
    };
    let width = match keys.optional_size("expert_feed_forward_length")? {
        Some(width) => width,
        None => keys.size("feed_forward_length")?,
    };
    let score = score(keys, rule)?;
    Ok(Some(ExpertsShape {
        count,
        used: keys.size("expert_used_count")?,
        width,
        router: RouterShape {
            score,
            normalised: keys.flag("expert_weights_norm")?.unwrap_or(rule.normalised),
            factor: factor(keys)?,
            groups: groups(keys, score, rule)?,
        },
        stored: Stored::Each,
        shared: shared(keys, rule, width)?,
    }))
}

/// The converter's number for the function; without one it is the family's.
fn score(keys: Keys, rule: Experts) -> Result<Score, EngineError> {
    match keys.optional_size("expert_gating_func")? {
        None | Some(0) => Ok(rule.score),
        Some(1) => Ok(Score::Softmax),
        Some(2) => Ok(Score::Sigmoid),
        Some(3) => Ok(Score::SoftmaxOfChosen),
        Some(other) => Err(unsupported(format!(
            "expert_gating_func {other} is not supported; supported: 1 (softmax), 2 (sigmoid), 3 (softmax of the chosen)"
        ))),
    }
}

/// A factor of 0 means that there is none.
fn factor(keys: Keys) -> Result<f32, EngineError> {
    let factor = keys.number("expert_weights_scale")?;
    Ok(factor.filter(|&factor| factor != 0.0).unwrap_or(1.0))
}

/// Scores that are sigmoids are those of the models that rank by two.
fn groups(keys: Keys, score: Score, rule: Experts) -> Result<Option<Groups>, EngineError> {
    let groups = keys.optional_size("expert_group_count")?;
    let Some(groups) = groups.filter(|&groups| groups > 1) else {
        return Ok(None);
    };
    Ok(Some(Groups {
        count: groups,
        best: keys.size("expert_group_used_count")?,
        ranked: if score == Score::Sigmoid {
            2
        } else {
            rule.ranked
        },
    }))
}

fn shared(keys: Keys, rule: Experts, expert: usize) -> Result<Option<SharedExpert>, EngineError> {
    let own = keys.optional_size("expert_shared_feed_forward_length")?;
    match rule.shared {
        Shared::None => Ok(None),
        Shared::Counted => {
            let count = keys.optional_size("expert_shared_count")?.unwrap_or(0);
            let width = expert.saturating_mul(count);
            Ok((count > 0).then_some(SharedExpert {
                width,
                gated: false,
            }))
        }
        Shared::Gated => Ok(Some(SharedExpert {
            width: match own {
                Some(own) => own,
                None => keys.size("feed_forward_length")?,
            },
            gated: true,
        })),
    }
}

/// Which layers have experts.
pub(super) fn layers(keys: Keys, layers: usize) -> Result<Vec<bool>, EngineError> {
    let some = counted(keys)?.is_some();
    let dense = keys
        .optional_size("leading_dense_block_count")?
        .unwrap_or(0);
    Ok((0..layers).map(|layer| some && layer >= dense).collect())
}
