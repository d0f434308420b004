//! Calls as Gemma 4 writes them: `call:f{key:<|"|>text<|"|>,other:[1,2]}`.

use std::future::Future;
use std::pin::Pin;

use super::json::{self, quoted};
use super::literal::{part, word};
use super::named::MAX_NAME;
use super::wire::{Malformed, Parsed, Wire};

const QUOTE: &str = "<|\"|>";
const MAX_DEPTH: usize = 64;

/// Read one call behind its opening marker.
pub(super) async fn read(wire: &mut Wire) -> Parsed<()> {
    wire.skip_space().await;
    wire.expect("call:").await?;
    let mut name = String::new();
    while wire.peek().await != Some('{') {
        name.push(wire.next().await.ok_or(Malformed)?);
        if name.len() > MAX_NAME || name.contains(['\n', '<']) {
            return Err(Malformed);
        }
    }
    let name = name.trim();
    if name.is_empty() {
        return Err(Malformed);
    }
    wire.open_call(name);
    value(wire, 0).await?;
    wire.close_call();
    wire.skip_space().await;
    wire.take("<tool_call|>").await;
    Ok(())
}

fn value(wire: &mut Wire, depth: usize) -> Pin<Box<dyn Future<Output = Parsed<()>> + Send + '_>> {
    Box::pin(async move {
        wire.skip_space().await;
        match wire.peek().await.ok_or(Malformed)? {
            _ if depth > MAX_DEPTH => Err(Malformed),
            '<' => text(wire).await,
            '[' => items(wire, depth).await,
            '{' => fields(wire, depth).await,
            _ => {
                let word = word(wire).await?;
                wire.arguments(&word);
                Ok(())
            }
        }
    })
}

async fn items(wire: &mut Wire, depth: usize) -> Parsed<()> {
    wire.next().await;
    wire.arguments("[");
    let mut first = true;
    loop {
        wire.skip_space().await;
        if wire.take("]").await {
            wire.arguments("]");
            return Ok(());
        }
        if !std::mem::take(&mut first) {
            wire.arguments(", ");
        }
        value(wire, depth + 1).await?;
        part(wire, ']').await?;
    }
}

async fn fields(wire: &mut Wire, depth: usize) -> Parsed<()> {
    wire.next().await;
    wire.arguments("{");
    let mut first = true;
    loop {
        wire.skip_space().await;
        if wire.take("}").await {
            wire.arguments("}");
            return Ok(());
        }
        if !std::mem::take(&mut first) {
            wire.arguments(", ");
        }
        let quotes = wire.take(QUOTE).await;
        let (key, _) = wire
            .take_until(if quotes { &[QUOTE] } else { &[":"] }, MAX_NAME)
            .await?;
        if quotes {
            wire.expect(":").await?;
        }
        wire.arguments(&format!("{}: ", quoted(key.trim())));
        value(wire, depth + 1).await?;
        part(wire, '}').await?;
    }
}

/// A string; what it says goes on as it comes.
async fn text(wire: &mut Wire) -> Parsed<()> {
    wire.expect(QUOTE).await?;
    wire.arguments("\"");
    while !wire.take(QUOTE).await {
        let char = wire.next().await.ok_or(Malformed)?;
        json::say(wire, char);
    }
    wire.arguments("\"");
    Ok(())
}
