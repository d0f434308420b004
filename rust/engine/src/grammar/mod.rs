//! Structured output: what an answer must look like, compiled once and enforced token by token.

mod compiler;
mod constraint;
mod mask;
mod nesting;
mod source;
mod trie;

pub use compiler::{CompiledGrammar, GrammarCompiler};
pub(crate) use constraint::{Constraint, MaskWorker};
pub(crate) use mask::TokenMask;
pub use source::Grammar;
