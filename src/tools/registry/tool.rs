//! One tool: checked before its call, run, checked after it.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::counters::Counters;
use crate::tools::content::ToolOutput;
use crate::tools::error::{CallError, PluginError};
use crate::tools::sandbox::{Call, Component, ListedTool};
use crate::tools::schema::{Schema, Unfit, check_name};
use crate::worker::Worker;

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
    worker: Worker,
}

impl Tool {
    /// A listed tool, if it is one that can be offered. Its schemas are not compiled yet.
    pub fn new(
        listed: ListedTool,
        worker: Worker,
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
        let input = Schema::parse(&listed.input_schema).map_err(|why| invalid(format!("input: {why}")))?;
        let output = listed.output_schema.as_deref().map(Schema::parse).transpose();
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
            worker,
            name,
        })
    }

    /// Compiles its schemas, to find out whether they can be used.
    pub async fn compile(&self) -> Result<(), PluginError> {
        for (name, schema) in [("input", Some(&self.input)), ("output", self.output.as_ref())] {
            let Some(schema) = schema else { continue };
            let compiled = schema.compile(&self.worker).await;
            let invalid = |why| PluginError::Invalid(format!("its tool \"{}\": {name}: {why}", self.name));
            compiled.map_err(invalid)?;
        }
        Ok(())
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
        let worker = self.worker.for_lane(&Arc::from(call.principal.unwrap_or_default()));
        self.input.check(&worker, call.arguments).await.map_err(|unfit| match unfit {
            Unfit::Faults(faults) => CallError::InvalidArguments(faults),
            Unfit::Unchecked(why) => {
                CallError::Unavailable(format!("its arguments could not be checked: {why}"))
            }
        })?;
        let output = self.component.call(call).await?;
        if output.is_error {
            return Ok(output);
        }
        match (&self.output, &output.structured) {
            (Some(schema), Some(structured)) => {
                let checked = schema.check(&worker, &structured.to_string()).await;
                checked.map_err(|unfit| match unfit {
                    Unfit::Faults(faults) => CallError::InvalidResult(faults),
                    Unfit::Unchecked(why) => {
                        CallError::InvalidResult(format!("it could not be checked: {why}"))
                    }
                })?;
            }
            (Some(_), None) => {
                return Err(CallError::InvalidResult("there is no structured result".to_owned()));
            }
            (None, _) => {}
        }
        Ok(output)
    }
}
