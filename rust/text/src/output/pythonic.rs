//! Calls written as Python: `[f(a=1, b='x'), g()]`, or as a bare `f(a=1)` inside of a code block.

use super::json::quoted;
use super::literal;
use super::named::MAX_NAME;
use super::tools::Tools;
use super::wire::{Malformed, Parsed, Wire};

/// Where such calls stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pythonic {
    /// What may end them.
    pub close: &'static [&'static str],
    /// Only names of tools that exist make a call, since nothing else marks one.
    pub known: bool,
}

/// Read the calls behind an opening marker, if there was one.
pub(super) async fn read(wire: &mut Wire, pythonic: Pythonic, tools: &Tools) -> Parsed<()> {
    wire.skip_space().await;
    let listed = wire.take("[").await;
    loop {
        wire.skip_space().await;
        call(wire, pythonic, tools).await?;
        if tools.enough(wire) {
            return Ok(());
        }
        wire.begin_raw();
        wire.skip_space().await;
        let more = if listed {
            wire.take(",").await
        } else {
            wire.marker(pythonic.close).await.is_none() && begins_name(wire).await
        };
        if !more {
            break;
        }
    }
    if listed {
        wire.expect("]").await?;
    }
    wire.skip_space().await;
    wire.take_marker(pythonic.close).await;
    Ok(())
}

async fn begins_name(wire: &mut Wire) -> bool {
    let next = wire.peek().await;
    next.is_some_and(|char| char.is_ascii_alphabetic() || char == '_')
}

async fn call(wire: &mut Wire, pythonic: Pythonic, tools: &Tools) -> Parsed<()> {
    let name = name(wire).await?;
    wire.skip_space().await;
    wire.expect("(").await?;
    if pythonic.known && !tools.has(&name) {
        return Err(Malformed);
    }
    wire.open_call(&name);
    wire.arguments("{");
    let mut first = true;
    loop {
        wire.skip_space().await;
        if wire.take(")").await {
            break;
        }
        let key = self::name(wire).await?;
        wire.skip_space().await;
        wire.expect("=").await?;
        let comma = if std::mem::take(&mut first) { "" } else { ", " };
        wire.arguments(&format!("{comma}{}: ", quoted(&key)));
        literal::value(wire, 0).await?;
        literal::part(wire, ')').await?;
    }
    wire.arguments("}");
    wire.close_call();
    Ok(())
}

/// The name of a function or of an argument.
async fn name(wire: &mut Wire) -> Parsed<String> {
    let mut name = String::new();
    while let Some(char) = wire.peek().await {
        if !(char.is_alphanumeric() || matches!(char, '_' | '.' | '-')) {
            break;
        }
        name.push(char);
        wire.next().await;
        if name.len() > MAX_NAME {
            return Err(Malformed);
        }
    }
    let begins = name.starts_with(|char: char| char.is_alphabetic() || char == '_');
    begins.then_some(name).ok_or(Malformed)
}
