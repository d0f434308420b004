//! Calls written as a name and then a JSON object: `name[ARGS]{…}` and its kin.

use super::json::{self, Target};
use super::objects::{self, Objects};
use super::tools::Tools;
use super::wire::{Malformed, Parsed, Wire};

/// Longest name of a function with what stands around it, in bytes.
pub(super) const MAX_NAME: usize = 256;

/// How such calls are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    /// What begins each call; empty where the opening marker did.
    pub open: &'static str,
    /// What may end the name; the arguments follow the last of them.
    pub separators: &'static [&'static str],
    /// What may end a call.
    pub close: &'static [&'static str],
    /// What may end all of them.
    pub end: &'static [&'static str],
}

/// Read the calls behind an opening marker.
pub(super) async fn read(wire: &mut Wire, named: Named, tools: &Tools) -> Parsed<()> {
    wire.skip_space().await;
    if named.open.is_empty() && matches!(wire.peek().await, Some('[' | '{')) {
        let plain = Objects {
            close: &[],
            known: false,
            keyed: false,
        };
        return objects::read(wire, plain, tools).await;
    }
    loop {
        wire.expect(named.open).await?;
        let name = name(wire, named.separators).await?;
        arguments(wire, &name).await?;
        wire.skip_space().await;
        wire.take_marker(named.close).await;
        if named.open.is_empty() || tools.enough(wire) {
            return Ok(());
        }
        wire.begin_raw();
        wire.skip_space().await;
        if wire.marker(&[named.open]).await.is_none() {
            wire.take_marker(named.end).await;
            return Ok(());
        }
    }
}

/// The name of a function; ids around it are left out, since every call gets one of ours.
async fn name(wire: &mut Wire, separators: &[&str]) -> Parsed<String> {
    let (mut name, mut which) = wire.take_until(separators, MAX_NAME).await?;
    let last = separators.len() - 1;
    if name == "function" && which == last {
        // The older form tells the kind first, and puts the arguments into a code block.
        name = wire.take_until(&["\n"], MAX_NAME).await?.0;
        which = last;
    }
    if which != last {
        wire.take_until(&separators[last..], MAX_NAME).await?;
    }
    let name = name.trim();
    let name = name.strip_prefix("functions.").unwrap_or(name);
    let name = match name.rsplit_once(':') {
        Some((name, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => name,
    };
    let plain = !name.is_empty() && !name.contains(|char: char| char.is_whitespace());
    plain.then(|| name.to_owned()).ok_or(Malformed)
}

/// An object, in a code block or not; a call without arguments may leave it out.
pub(super) async fn arguments(wire: &mut Wire, name: &str) -> Parsed<()> {
    wire.skip_space().await;
    let fenced = wire.take_marker(&["```json", "```"]).await.is_some();
    wire.skip_space().await;
    if wire.peek().await != Some('{') {
        return Err(Malformed);
    }
    wire.open_call(name);
    json::value(wire, Target::Arguments).await?;
    if fenced {
        wire.skip_space().await;
        wire.take("```").await;
    }
    wire.close_call();
    Ok(())
}
