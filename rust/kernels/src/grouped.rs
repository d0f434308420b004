//! Products of several matrices, each with its own rows of one input: experts, or the heads of latent attention.

use std::ops::Range;

use crate::matrix::{ALONE, Output, Product, TASKS_PER_THREAD};
use crate::{KernelError, PackedMatrix, Pool, Scratch, shape};

/// A matrix and the rows of the input that it multiplies.
#[derive(Debug, Clone)]
pub struct Group<'a> {
    /// The matrix; all have the same size.
    pub matrix: &'a PackedMatrix,
    /// Rows of the input and of the output.
    pub rows: Range<usize>,
}

/// A part of a group's product.
struct Task {
    group: usize,
    tiles: Range<usize>,
}

/// `x [m, cols] -> out [m, rows]`, where the groups follow each other and cover all rows of `x`.
///
/// A row's result is that of [`PackedMatrix::matmul`], whatever the other groups are.
///
/// # Errors
/// If sizes do not fit together or a row belongs to no group or to two.
pub fn grouped_matmul(
    pool: &Pool,
    groups: &[Group<'_>],
    x: &[f32],
    out: &mut [f32],
    scratch: &mut Scratch,
) -> Result<(), KernelError> {
    let Some(first) = groups.first().map(|group| group.matrix) else {
        return shape::same("out", x.len(), 0).and(shape::same("out", out.len(), 0));
    };
    let m = shape::rows("x", x.len(), first.cols())?;
    shape::same("out", shape::product("out", m, first.rows())?, out.len())?;
    check(groups, first, m)?;
    if groups
        .iter()
        .any(|group| group.matrix.multiplies_integers())
    {
        let quantised = &mut scratch.activations;
        let rows: Vec<usize> = groups.iter().map(|group| group.rows.len()).collect();
        quantised.quantise_parts(pool, x, (first.cols(), first.level()), &rows);
    }
    let output = Output {
        start: out.as_mut_ptr(),
        rows: first.rows(),
    };
    let quantised = &scratch.activations;
    let run = |task: &Task| {
        let Group { matrix, rows } = &groups[task.group];
        let product = Product {
            matrix,
            x,
            quantised,
            m: rows.clone(),
            out: output,
        };
        product.tiles(task.tiles.clone());
    };
    let alone = x.len().saturating_mul(first.rows()) < ALONE || pool.threads() == 1;
    let pieces = if alone {
        1
    } else {
        pool.threads() * TASKS_PER_THREAD
    };
    let tasks = tasks(groups, m, pieces);
    if alone {
        pool.run(1, &|_| tasks.iter().for_each(run));
    } else {
        pool.run(tasks.len(), &|index| run(&tasks[index]));
    }
    Ok(())
}

/// The groups follow each other up to row `m`, and their matrices have one size.
fn check(groups: &[Group<'_>], first: &PackedMatrix, m: usize) -> Result<(), KernelError> {
    let mut end = 0;
    for Group { matrix, rows } in groups {
        shape::same("rows of a matrix", first.rows(), matrix.rows())?;
        shape::same("cols of a matrix", first.cols(), matrix.cols())?;
        shape::same("first row of a group", end, rows.start)?;
        end = rows.end.max(rows.start);
        shape::same("last row of a group", end, rows.end)?;
    }
    shape::same("rows of all groups", m, end)
}

/// The work of all groups in about so many pieces; a group of more rows is cut into more.
fn tasks(groups: &[Group<'_>], m: usize, pieces: usize) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (number, group) in groups.iter().enumerate() {
        let rows = group.rows.len();
        if rows == 0 {
            continue;
        }
        let tiles = group.matrix.tiles();
        let parts = (rows * pieces).div_ceil(m).clamp(1, tiles);
        for part in 0..parts {
            tasks.push(Task {
                group: number,
                tiles: tiles * part / parts..tiles * (part + 1) / parts,
            });
        }
    }
    tasks
}
