//! One tool: checked before its call, run, checked after it.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::counters::Counters;
use crate::tools::content::ToolOutput;
use crate::tools::error::{CallError, PluginError};
use crate::tools::sandbox::{Call, Component, ListedTool};
use crate::tools::schema::{Schema, check_name};

/// Bytes of a tool's description and title.
const DESCRIPTION_MAX: usize = 32 << 10;
const TITLE_MAX: usize = 256;

/// See the module.
pub struct Tool {
    pub name: String,
    pub title: Option<String>,
    pub description: String,
    pub input: Schema,
    pub output: Option<Schema>,
    pub read_only: Option<bool>,
    pub destructive: Option<bool>,
    pub idempotent: Option<bool>,
    pub open_world: Option<bool>,
    /// The plugin's name.
    pub plugin: String,
    /// Why it cannot be called.
    pub withheld: Option<String>,
    component: Arc<Component>,
    counters: Arc<Counters>,
}

impl Tool {
    /// A listed tool, if it is one that can be offered; `schema` reads its schemas.
    pub fn new(
        listed: ListedTool,
        schema: fn(&str) -> Result<Schema, String>,
        plugin: &str,
        withheld: Option<String>,
        component: Arc<Component>,
        counters: Arc<Counters>,
    ) -> Result<Tool, PluginError> {
        let name = listed.name;
        let invalid = |why: String| PluginError::Invalid(format!("its tool \"{name}\": {why}"));
        check_name(&name).map_err(invalid)?;
        if listed.description.len() > DESCRIPTION_MAX {
            return Err(invalid(format!("the description is longer than {DESCRIPTION_MAX} bytes")));
        }
        if listed.title.as_ref().is_some_and(|title| title.len() > TITLE_MAX) {
            return Err(invalid(format!("the title is longer than {TITLE_MAX} bytes")));
        }
        let input = schema(&listed.input_schema).map_err(|why| invalid(format!("input: {why}")))?;
        let output = listed.output_schema.as_deref().map(schema).transpose();
        let output = output.map_err(|why| invalid(format!("output: {why}")))?;
        Ok(Tool {
            title: listed.title,
            description: listed.description,
            input,
            output,
            read_only: listed.read_only,
            destructive: listed.destructive,
            idempotent: listed.idempotent,
            open_world: listed.open_world,
            plugin: plugin.to_owned(),
            withheld,
            component,
            counters,
            name,
        })
    }

    /// Runs it; what comes of it is counted. Dropping the future ends the call.
    pub async fn call(&self, call: &Call<'_>) -> Result<ToolOutput, CallError> {
        let began = Instant::now();
        let outcome = self.checked(call).await;
        self.counters.count(&outcome, began.elapsed());
        outcome
    }

    /// As MCP's annotations, as far as they were given.
    pub fn annotations(&self) -> Value {
        let mut hints = json!({
            "readOnlyHint": self.read_only,
            "destructiveHint": self.destructive,
            "idempotentHint": self.idempotent,
            "openWorldHint": self.open_world,
        });
        if let Some(hints) = hints.as_object_mut() {
            hints.retain(|_, hint| !hint.is_null());
        }
        hints
    }

    /// As MCP lists it.
    pub fn listed(&self) -> Value {
        json!({
            "name": self.name, "description": self.description, "input_schema": self.input.value,
            "annotations": self.annotations(),
        })
    }

    /// As a function for a model.
    pub fn function(&self) -> Value {
        json!({"type": "function", "function": {
            "name": self.name, "description": self.description, "parameters": self.input.value,
        }})
    }

    async fn checked(&self, call: &Call<'_>) -> Result<ToolOutput, CallError> {
        if let Some(reason) = &self.withheld {
            return Err(CallError::Denied(reason.clone()));
        }
        let arguments: Value = serde_json::from_str(call.arguments)
            .map_err(|error| CallError::InvalidArguments(format!("the arguments are not JSON: {error}")))?;
        self.input.check(&arguments).map_err(CallError::InvalidArguments)?;
        let output = self.component.call(call).await?;
        if output.is_error {
            return Ok(output);
        }
        match (&self.output, &output.structured) {
            (Some(schema), Some(structured)) => schema.check(structured).map_err(CallError::InvalidResult)?,
            (Some(_), None) => {
                return Err(CallError::InvalidResult("there is no structured result".to_owned()));
            }
            (None, _) => {}
        }
        Ok(output)
    }
}
