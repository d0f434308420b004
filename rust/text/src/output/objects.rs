//! Calls written as JSON objects: `{"name": "f", "arguments": {…}}`, one or several, in a list or not.

use serde_json::Value;

use super::json::{self, Target};
use super::tools::Tools;
use super::wire::{Malformed, Parsed, Wire};

/// Where such calls stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Objects {
    /// What may end them.
    pub close: &'static [&'static str],
    /// Only names of tools that exist make a call, since nothing else marks one.
    pub known: bool,
    /// The only key of an object is the name, and its value the arguments.
    pub keyed: bool,
}

/// Read the calls behind an opening marker.
pub(super) async fn read(wire: &mut Wire, objects: Objects, tools: &Tools) -> Parsed<()> {
    wire.skip_space().await;
    let listed = wire.take("[").await;
    loop {
        wire.skip_space().await;
        call(wire, objects, tools).await?;
        if tools.enough(wire) {
            return Ok(());
        }
        if !another(wire, listed, objects.close).await {
            break;
        }
    }
    if objects.close.is_empty() {
        return Ok(());
    }
    // A bracket too many is a frequent slip, and says nothing.
    while wire.marker(&["}", "]"]).await.is_some() {
        wire.next().await;
        wire.skip_space().await;
    }
    if wire.marker(objects.close).await.is_some() {
        wire.take_marker(objects.close).await;
    }
    Ok(())
}

/// Go to the next call, if there is one.
async fn another(wire: &mut Wire, listed: bool, close: &[&str]) -> bool {
    wire.begin_raw();
    wire.skip_space().await;
    if listed && wire.take("]").await {
        wire.skip_space().await;
        return false;
    }
    if wire.marker(close).await.is_some() {
        return false;
    }
    let parted = wire.take_marker(&[",", ";"]).await.is_some();
    wire.skip_space().await;
    let more = wire.peek().await == Some('{');
    if parted && !more {
        wire.give_back();
        wire.begin_raw();
    }
    more
}

/// What an object has told so far.
#[derive(Default)]
struct Told {
    name: Option<String>,
    /// Arguments that came before the name.
    early: Option<String>,
    /// The arguments are with the open call.
    passed: bool,
}

async fn call(wire: &mut Wire, objects: Objects, tools: &Tools) -> Parsed<()> {
    wire.expect("{").await?;
    let mut told = Told::default();
    if objects.keyed {
        keyed(wire, &mut told).await?;
        wire.skip_space().await;
        wire.expect("}").await?;
    } else {
        fields(wire, objects, tools, &mut told).await?;
    }
    let name = told.name.ok_or(Malformed)?;
    if objects.known && !tools.has(&name) {
        return Err(Malformed);
    }
    if !told.passed {
        wire.open_call(&name);
        wire.arguments(told.early.as_deref().unwrap_or("{}"));
    }
    wire.close_call();
    Ok(())
}

async fn keyed(wire: &mut Wire, told: &mut Told) -> Parsed<()> {
    wire.skip_space().await;
    let name = json::string(wire).await?;
    wire.skip_space().await;
    wire.expect(":").await?;
    told.name = Some(name);
    arguments(wire, told).await
}

async fn fields(wire: &mut Wire, objects: Objects, tools: &Tools, told: &mut Told) -> Parsed<()> {
    // Some models put both into an object under "function".
    let mut inner = 0;
    loop {
        wire.skip_space().await;
        let key = json::string(wire).await?;
        wire.skip_space().await;
        wire.expect(":").await?;
        wire.skip_space().await;
        match key.as_str() {
            "function" if inner == 0 && wire.take("{").await => {
                inner = 1;
                continue;
            }
            "name" | "tool_name" | "function" if told.name.is_none() => {
                let name = json::string(wire).await?;
                if name.is_empty() || objects.known && !tools.has(&name) {
                    return Err(Malformed);
                }
                told.name = Some(name);
            }
            "arguments" | "parameters" if !told.passed && told.early.is_none() => {
                arguments(wire, told).await?;
            }
            "id" | "type" | "tool_call_id" | "call_id" | "index" => {
                json::value(wire, Target::Caller).await?;
            }
            _ if objects.known => return Err(Malformed),
            _ => {
                json::value(wire, Target::Caller).await?;
            }
        }
        if !next_field(wire, &mut inner, told).await? {
            return Ok(());
        }
    }
}

/// Go to the next field, if there is one.
async fn next_field(wire: &mut Wire, inner: &mut u32, told: &Told) -> Parsed<bool> {
    loop {
        wire.skip_space().await;
        match wire.peek().await {
            Some(',') => {
                wire.next().await;
                return Ok(true);
            }
            Some('}') => {
                wire.next().await;
                if *inner == 0 {
                    return Ok(false);
                }
                *inner -= 1;
            }
            // A bracket is missing, but all that counts is here.
            _ if told.passed => return Ok(false),
            _ => return Err(Malformed),
        }
    }
}

/// The arguments of a call: an object, or a text that holds one.
async fn arguments(wire: &mut Wire, told: &mut Told) -> Parsed<()> {
    wire.skip_space().await;
    match (wire.peek().await, &told.name) {
        (Some('{'), Some(name)) => {
            wire.open_call(name);
            json::value(wire, Target::Arguments).await?;
            told.passed = true;
        }
        (Some('"'), _) => {
            let text = json::string(wire).await?;
            told.early = Some(object(&text)?);
        }
        (Some('{'), None) => told.early = Some(json::value(wire, Target::Caller).await?),
        _ => {
            wire.expect("null").await?;
            told.early = Some("{}".to_owned());
        }
    }
    Ok(())
}

/// A text that holds an object, or nothing.
fn object(text: &str) -> Parsed<String> {
    if text.trim().is_empty() {
        return Ok("{}".to_owned());
    }
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(_)) => Ok(text.to_owned()),
        _ => Err(Malformed),
    }
}
