//! Caller and requested model -> profile, which the log lines of the request name from then on.

use super::failure::Failure;
use crate::auth::{Caller, Scope};
use crate::logging::RequestFields;
use crate::profiles::{Entry, ProfileSet};

/// The profile that serves `model` for `caller`.
pub fn resolve<'a>(profiles: &'a ProfileSet, caller: &Caller, model: &str) -> Result<&'a Entry, Failure> {
    if !caller.has(Scope::Inference) {
        return Err(Failure::no_inference());
    }
    let entry = profiles.entry(model).ok_or_else(|| Failure::model_not_found(model))?;
    if !caller.may_use(&entry.profile.name) {
        // The same answer as for a model that is not there: a key learns only of what it may use.
        return Err(Failure::model_not_found(model));
    }
    RequestFields::set_profile(&entry.name);
    Ok(entry)
}
