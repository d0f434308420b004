//! Calls written with a tag for each argument, whose text is coerced by the tool's schema.

use serde_json::Value;

use super::coerce;
use super::json::{self, MAX_VALUE, quoted};
use super::named::{self, MAX_NAME};
use super::tools::Tools;
use super::wire::{Malformed, Parsed, Wire};

/// How such calls are written. A `name` is followed by `>` or, where it stands in quotes, by attributes up to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tagged {
    /// Before a function's name.
    pub call: &'static str,
    /// Before an argument's name.
    pub argument: &'static str,
    pub argument_end: &'static str,
    pub call_end: &'static str,
    /// What may end all calls.
    pub end: &'static str,
}

/// Read the calls; the first one's opening is next.
pub(super) async fn read(wire: &mut Wire, tagged: Tagged, tools: &Tools) -> Parsed<()> {
    loop {
        wire.skip_space().await;
        wire.expect(tagged.call).await?;
        call(wire, tagged, tools).await?;
        if tools.enough(wire) {
            return Ok(());
        }
        wire.begin_raw();
        wire.skip_space().await;
        if wire.marker(&[tagged.call]).await.is_none() {
            wire.take_marker(&[tagged.end]).await;
            return Ok(());
        }
    }
}

async fn call(wire: &mut Wire, tagged: Tagged, tools: &Tools) -> Parsed<()> {
    let (name, _) = opening(wire, tagged.call).await?;
    wire.skip_space().await;
    if wire.peek().await == Some('{') {
        // One family puts an object where the others have tags.
        named::arguments(wire, &name).await?;
        wire.skip_space().await;
        wire.take(tagged.call_end).await;
        return Ok(());
    }
    wire.open_call(&name);
    wire.arguments("{");
    let mut first = true;
    while wire.take(tagged.argument).await {
        let (key, attributes) = opening(wire, tagged.argument).await?;
        begin(wire, &key, &mut first);
        let schema = tools.schema(&name, &key);
        // One family says itself what is a text.
        let told = attributes.contains("string=\"true\"");
        let is_text = told || !attributes.contains("string=\"false\"") && coerce::is_text(schema);
        argument(wire, tagged.argument_end, is_text, schema).await?;
        wire.skip_space().await;
    }
    wire.expect(tagged.call_end).await?;
    wire.arguments("}");
    wire.close_call();
    Ok(())
}

/// The name behind an opening, and the attributes of its tag.
async fn opening(wire: &mut Wire, open: &str) -> Parsed<(String, String)> {
    let (name, attributes) = if open.ends_with('"') {
        let (name, _) = wire.take_until(&["\""], MAX_NAME).await?;
        (name, wire.take_until(&[">"], MAX_NAME).await?.0)
    } else {
        (wire.take_until(&[">"], MAX_NAME).await?.0, String::new())
    };
    let name = name.trim().trim_matches('"');
    if name.is_empty() || name.contains(['\n', '<']) {
        return Err(Malformed);
    }
    Ok((name.to_owned(), attributes))
}

/// Go on to an argument of that name.
fn begin(wire: &mut Wire, key: &str, first: &mut bool) {
    let comma = if std::mem::take(first) { "" } else { ", " };
    wire.arguments(&format!("{comma}{}: ", quoted(key)));
}

/// Pass on the text of an argument, coerced where it is not a text anyway.
async fn argument(wire: &mut Wire, end: &str, is_text: bool, schema: Option<&Value>) -> Parsed<()> {
    // Line breaks at both ends part the text from its tags; so does a CDATA section.
    let ends = if wire.take("<![CDATA[").await {
        [format!("]]>{end}"), format!("]]>\n{end}")]
    } else {
        wire.take("\n").await;
        [end.to_owned(), format!("\n{end}")]
    };
    let ends = ends.each_ref().map(String::as_str);
    if !is_text {
        let (text, _) = wire.take_until(&ends, MAX_VALUE).await?;
        wire.arguments(&coerce::json(&text, schema));
        return Ok(());
    }
    wire.arguments("\"");
    while wire.take_marker(&ends).await.is_none() {
        let char = wire.next().await.ok_or(Malformed)?;
        json::say(wire, char);
    }
    wire.arguments("\"");
    Ok(())
}

/// Read a call as GLM writes it: the name, then keys and values in tags of their own.
pub(super) async fn read_pairs(wire: &mut Wire, tools: &Tools) -> Parsed<()> {
    const KEY: &str = "<arg_key>";
    const END: &str = "</tool_call>";
    let mut name = String::new();
    while let Some(char) = wire.peek().await
        && !char.is_whitespace()
        && char != '<'
    {
        name.push(char);
        wire.next().await;
        if name.len() > MAX_NAME {
            return Err(Malformed);
        }
    }
    wire.skip_space().await;
    if name.is_empty() || wire.marker(&[KEY, END]).await.is_none() {
        return Err(Malformed);
    }
    let name = name.as_str();
    wire.open_call(name);
    wire.arguments("{");
    let mut first = true;
    while wire.take(KEY).await {
        let (key, _) = wire.take_until(&["</arg_key>"], MAX_NAME).await?;
        wire.skip_space().await;
        wire.expect("<arg_value>").await?;
        begin(wire, key.trim(), &mut first);
        let schema = tools.schema(name, key.trim());
        argument(wire, "</arg_value>", coerce::is_text(schema), schema).await?;
        wire.skip_space().await;
    }
    wire.expect(END).await?;
    wire.arguments("}");
    wire.close_call();
    Ok(())
}
