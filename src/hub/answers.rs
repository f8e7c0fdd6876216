//! What the hub answers, read: lists of models and of files, the next page of a list, where a redirect leads.
//! Pure; knows neither how it was asked nor what for.

use hf_hub::repository::ModelInfo;
use serde::de::DeserializeOwned;

use super::error::HubError;
use super::files::{self, RepoFile, TreeEntry};
use super::search::Hit;

/// A page of a search.
pub fn hits(page: &[u8]) -> Result<Vec<Hit>, HubError> {
    Ok(json::<Vec<ModelInfo>>(page)?.into_iter().map(Hit::from).collect())
}

/// The files of a page of a model's tree.
pub fn files(page: &[u8]) -> Result<Vec<RepoFile>, HubError> {
    files::files(json::<Vec<TreeEntry>>(page)?)
}

/// The address of the next page, of `<…>; rel="next"` in a header `Link`.
pub fn next_page(links: &str) -> Option<String> {
    links.split(',').find_map(|link| {
        let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        rest.contains("rel=\"next\"").then(|| address.to_owned())
    })
}

/// Where a redirect leads from `base`.
pub fn redirected(base: &str, location: &str) -> String {
    if location.contains("://") {
        return location.to_owned();
    }
    let (scheme, rest) = base.split_once("://").unwrap_or(("https", base));
    if let Some(other_host) = location.strip_prefix("//") {
        return format!("{scheme}://{other_host}");
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if let Some(absolute) = location.strip_prefix('/') {
        return format!("{scheme}://{host}/{absolute}");
    }
    let folder =
        path.split('?').next().and_then(|path| path.rsplit_once('/')).map_or("", |(folder, _)| folder);
    format!("{scheme}://{host}/{folder}/{location}")
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, HubError> {
    serde_json::from_slice(bytes).map_err(|error| HubError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_resolved_as_a_browser_would() {
        let base = "http://host:81/a/b?c=d/e";
        assert_eq!(redirected(base, "https://other/x"), "https://other/x");
        assert_eq!(redirected(base, "//other/x"), "http://other/x");
        assert_eq!(redirected(base, "/x"), "http://host:81/x");
        assert_eq!(redirected(base, "x"), "http://host:81/a/x");
    }

    #[test]
    fn the_next_page_stands_in_a_link() {
        let next = next_page("<http://hub/x?cursor=1>; rel=\"next\"");
        assert_eq!(next.as_deref(), Some("http://hub/x?cursor=1"));
        assert_eq!(next_page("<http://hub/x>; rel=\"first\""), None);
    }
}
