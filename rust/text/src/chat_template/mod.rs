//! Chat templates of model files, rendered as Hugging Face transformers does, and safe to put users' text into.

mod arguments;
mod environment;
mod filters;
mod globals;
mod marks;
mod methods;
mod operators;
mod printing;
mod python_json;
mod rewriting;
mod strftime;
mod syntax;
mod text_filters;
mod text_methods;

use minijinja::value::{Serde, Value};
use minijinja::{Environment, context};
use serde_json::{Map, Value as Json, json};

use crate::chat_template::marks::Marks;
use crate::{Specials, TextError, Tokenizer};

/// Longest text that a template may render, in bytes.
const MAX_OUTPUT: usize = 64 << 20;

/// A parsed template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

/// What a template gets to see.
#[derive(Clone, Copy, Debug)]
pub struct RenderInput<'a> {
    /// The conversation: an array of objects, as in the chat API, with tool arguments as objects.
    pub messages: &'a Json,
    /// Descriptions of tools, as in the chat API.
    pub tools: Option<&'a Json>,
    /// Whether to end with the beginning of an answer.
    pub add_generation_prompt: bool,
    /// Further names, such as `enable_thinking`.
    pub kwargs: Option<&'a Map<String, Json>>,
    /// Seconds since 1970 for templates that write the date, in UTC.
    pub now: i64,
}

impl ChatTemplate {
    /// Parse a template; `bos` and `eos` are texts of tokens.
    ///
    /// # Errors
    /// It is not valid.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self, TextError> {
        Ok(Self {
            environment: environment::environment(source)?,
            bos: bos.to_owned(),
            eos: eos.to_owned(),
        })
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// The template refuses the conversation, fails on it, or takes too long or too much.
    pub fn render(&self, input: &RenderInput) -> Result<String, TextError> {
        self.render_values(
            input.messages.clone(),
            input.tools.cloned(),
            input.kwargs.cloned().unwrap_or_default(),
            input,
        )
    }

    /// The tokens of a conversation. Control tokens come only from the template: where a user's text has the name
    /// of one, it becomes what any other text would.
    ///
    /// # Errors
    /// As `render`, the vocabulary cannot express the text, or `TooLong`, before it is tokenised, when it cannot
    /// have as few as `most_tokens`.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        input: &RenderInput,
        most_tokens: Option<usize>,
    ) -> Result<Vec<u32>, TextError> {
        let marks = Marks::new(tokenizer, input)?;
        let mut messages = input.messages.clone();
        let mut tools = input.tools.cloned();
        let mut kwargs = Json::Object(input.kwargs.cloned().unwrap_or_default());
        marks.mark(&mut messages);
        marks.mark(&mut kwargs);
        if let Some(tools) = &mut tools {
            marks.mark(tools);
        }
        let Json::Object(kwargs) = kwargs else {
            return Err(TextError::Render(
                "template arguments must be an object".to_owned(),
            ));
        };
        let text = self.render_values(messages, tools, kwargs, input)?;
        tokenizer.check_length(text.len(), most_tokens)?;
        let mut ids = Vec::new();
        for (piece, specials) in marks.split(&text) {
            if specials == Specials::AsText {
                ids.extend(tokenizer.encode(&marks.unmark(piece), specials)?);
            } else {
                ids.extend(tokenizer.encode(piece, specials)?);
            }
        }
        Ok(ids)
    }

    /// The control token with which the template ends an answer, if it writes nothing else behind one.
    #[must_use]
    pub fn turn_end(&self, tokenizer: &Tokenizer) -> Option<u32> {
        const ANSWER: &str = "It is five o'clock.";
        let messages = json!([
            {"role": "user", "content": "What time is it?"},
            {"role": "assistant", "content": ANSWER},
        ]);
        let input = RenderInput {
            messages: &messages,
            tools: None,
            add_generation_prompt: false,
            kwargs: None,
            now: 0,
        };
        let rendered = self.render(&input).ok()?;
        let (_, mut rest) = rendered.rsplit_once(ANSWER)?;
        let mut last = None;
        while let Some(name) = tokenizer.control_names().at_start(rest.trim_start()) {
            let (name, behind) = rest.trim_start().split_at(name);
            (last, rest) = (Some(name), behind);
        }
        let end = tokenizer.control_id(last.filter(|_| rest.trim().is_empty())?);
        // Some templates already begin the next turn.
        end.filter(|&end| Some(end) != tokenizer.bos())
    }

    fn render_values(
        &self,
        messages: Json,
        tools: Option<Json>,
        kwargs: Map<String, Json>,
        input: &RenderInput,
    ) -> Result<String, TextError> {
        let now = input.now;
        let own = context! {
            messages => Value::from(Serde(messages)),
            tools => tools.map_or(Value::from(()), |tools| Value::from(Serde(tools))),
            documents => Value::from(()),
            add_generation_prompt => input.add_generation_prompt,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            strftime_now => Value::from_function(move |format: &str| strftime::strftime(format, now)),
        };
        // The first of the two that knows a name decides: nobody can replace the messages by an argument.
        let context = context! { ..own, ..Value::from(Serde(kwargs)) };
        let template = self.environment.get_template(environment::NAME);
        let template = template.map_err(|error| TextError::Render(error.to_string()))?;
        let mut output = Bounded::default();
        let rendered = template.render_captured_to(context, &mut output);
        if output.full {
            let text = format!("it writes more than {MAX_OUTPUT} bytes");
            return Err(TextError::Render(text));
        }
        rendered.map_err(|error| TextError::Render(environment::explain(&error)))?;
        String::from_utf8(output.bytes).map_err(|error| TextError::Render(error.to_string()))
    }
}

/// Takes what is written, up to the limit.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl std::io::Write for Bounded {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + data.len() > MAX_OUTPUT {
            self.full = true;
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
