//! Which experts a token visits, and with what share.

use super::description::{Groups, RouterShape, Score};

/// One visit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Visit {
    pub expert: usize,
    pub share: f32,
}

impl RouterShape {
    /// The `used` experts of a token, best first; of equal ones the first. `scores` are the router's logits, whose
    /// memory is used; a correction changes the order only.
    pub(crate) fn choose(
        &self,
        scores: &mut [f32],
        correction: Option<&[f32]>,
        used: usize,
    ) -> Vec<Visit> {
        match self.score {
            Score::Softmax => softmax(scores),
            Score::Sigmoid => scores.iter_mut().for_each(|score| *score = sigmoid(*score)),
            Score::SoftmaxOfChosen => {}
        }
        let mut ranks = scores.to_vec();
        if let Some(correction) = correction {
            for (rank, correction) in ranks.iter_mut().zip(correction) {
                *rank += correction;
            }
        }
        if let Some(groups) = self.groups {
            drop_groups(&mut ranks, groups);
        }
        let chosen = best_of(&ranks, used);
        let mut shares: Vec<f32> = chosen.iter().map(|&expert| scores[expert]).collect();
        if self.score == Score::SoftmaxOfChosen {
            softmax(&mut shares);
        } else if self.normalised {
            let sum: f32 = shares.iter().sum();
            // A sum of zero would make no share a number.
            for share in &mut shares {
                *share /= sum + 1e-20;
            }
        }
        let visits = chosen.into_iter().zip(shares);
        let visits = visits.map(|(expert, share)| Visit {
            expert,
            share: share * self.factor,
        });
        visits.collect()
    }
}

/// Leave the experts of the best groups.
fn drop_groups(ranks: &mut [f32], groups: Groups) {
    let size = ranks.len() / groups.count;
    let sums: Vec<f32> = ranks
        .chunks_exact(size)
        .map(|group| {
            let best = best_of(group, groups.ranked.min(size));
            best.into_iter().map(|expert| group[expert]).sum()
        })
        .collect();
    let kept = best_of(&sums, groups.best);
    for (number, group) in ranks.chunks_exact_mut(size).enumerate() {
        if !kept.contains(&number) {
            group.fill(f32::NEG_INFINITY);
        }
    }
}

/// Places of the largest values, the largest first, of equal ones the first.
fn best_of(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let before = |a: &usize, b: &usize| values[*b].total_cmp(&values[*a]).then(a.cmp(b));
    if count < order.len() {
        order.select_nth_unstable_by(count, before);
        order.truncate(count);
    }
    order.sort_unstable_by(before);
    order
}

fn softmax(values: &mut [f32]) {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for value in values.iter_mut() {
        *value = (*value - largest).exp();
    }
    let sum: f32 = values.iter().sum();
    for value in values {
        *value /= sum;
    }
}

pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp)]
    use super::*;

    fn router(score: Score, normalised: bool) -> RouterShape {
        RouterShape {
            score,
            normalised,
            factor: 1.0,
            groups: None,
        }
    }

    fn experts(visits: &[Visit]) -> Vec<usize> {
        visits.iter().map(|visit| visit.expert).collect()
    }

    fn sum(visits: &[Visit]) -> f32 {
        visits.iter().map(|visit| visit.share).sum()
    }

    #[test]
    fn the_best_are_chosen_and_of_equal_ones_the_first() {
        let router = router(Score::Softmax, false);
        let visits = router.choose(&mut [1.0, 3.0, 2.0, 3.0], None, 3);
        assert_eq!(experts(&visits), [1, 3, 2]);
        assert!(visits[0].share == visits[1].share && sum(&visits) < 1.0);
    }

    #[test]
    fn normalised_shares_are_the_softmax_of_the_chosen() {
        let scores = [0.5, -1.0, 2.0, 1.5];
        let normalised = router(Score::Softmax, true).choose(&mut scores.clone(), None, 2);
        let chosen = router(Score::SoftmaxOfChosen, false).choose(&mut scores.clone(), None, 2);
        for (a, b) in normalised.iter().zip(&chosen) {
            assert!(a.expert == b.expert && (a.share - b.share).abs() < 1e-6);
        }
        assert!((sum(&chosen) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_correction_changes_who_is_chosen_but_not_the_shares() {
        let router = router(Score::Sigmoid, false);
        let visits = router.choose(&mut [0.0, 1.0, 2.0], Some(&[5.0, 0.0, 0.0]), 2);
        assert_eq!(experts(&visits), [0, 2]);
        assert_eq!(visits[0].share, 0.5);
    }

    #[test]
    fn only_the_best_groups_take_part_and_the_factor_scales() {
        let router = |ranked| RouterShape {
            groups: Some(Groups {
                count: 2,
                best: 1,
                ranked,
            }),
            factor: 2.0,
            ..router(Score::Sigmoid, true)
        };
        // The second group has the larger sum, the first the best expert.
        let scores = [3.0, -9.0, 2.0, 2.5];
        let visits = router(2).choose(&mut scores.clone(), None, 2);
        assert_eq!(experts(&visits), [3, 2]);
        assert!((sum(&visits) - 2.0).abs() < 1e-6);
        let visits = router(1).choose(&mut scores.clone(), None, 2);
        assert_eq!(experts(&visits), [0, 1]);
    }
}
