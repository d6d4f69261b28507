//! Which route a method and a path lead to.

use std::sync::Arc;

use hyper::Method;
use matchit::Router;
use percent_encoding::percent_decode_str;

use super::route::{Mount, MountClaim, Route};
use super::{Reply, Request};
use crate::error::{Error, ErrorKind, Result};

/// How a mount words a refusal.
pub(super) type RenderError = fn(&Error) -> Reply;

/// All mounts, longest prefix first; among equal ones as they were given.
pub(super) struct RouteTable(Vec<Mounted>);

struct Mounted {
    prefix: &'static str,
    claim: MountClaim,
    render: RenderError,
    /// Paths below the prefix, with the place of their methods in `endpoints`.
    paths: Router<usize>,
    endpoints: Vec<Vec<RouteEntry>>,
}

/// One method of a path.
pub(super) struct RouteEntry {
    pub(super) prefix: &'static str,
    pub(super) route: Route,
    pub(super) param_names: Arc<[String]>,
}

/// What a request leads to.
pub(super) enum RouteMatch<'a> {
    /// A handler, and the values of the path's parameters.
    Handler(&'a RouteEntry, RenderError, Vec<String>),
    /// The path is there with these methods, the request's is not among them.
    Methods(Vec<&'a Method>, RenderError),
    /// A parameter is no UTF-8.
    BadParameter(RenderError),
    /// No such path.
    Nothing(RenderError),
}

impl RouteMatch<'_> {
    /// Who words a refusal.
    pub(super) fn render(&self) -> RenderError {
        match self {
            Self::Handler(_, render, _)
            | Self::Methods(_, render)
            | Self::BadParameter(render)
            | Self::Nothing(render) => *render,
        }
    }
}

impl RouteTable {
    pub(super) fn new(mounts: Vec<Mount>) -> Result<Self> {
        let mounts = mounts.into_iter().map(Mounted::new);
        let mut mounts = mounts.collect::<Result<Vec<_>>>()?;
        mounts.sort_by_key(|mount| std::cmp::Reverse(mount.prefix.len()));
        Ok(Self(mounts))
    }

    /// Finds the first mount that has path and method, of those that take the request. A refusal is
    /// worded by the first one that has the path, or else by the first one whose prefix matches.
    pub(super) fn find(&self, request: &Request) -> RouteMatch<'_> {
        let (method, path) = (request.method(), request.path());
        // One slash at the end is tolerated; an empty segment elsewhere is no path of ours.
        let path = path.strip_suffix('/').unwrap_or(path);
        let is_doubled = path.contains("//") || path.ends_with('/');
        let mut own: Option<RenderError> = None;
        let mut others: Option<(Vec<&Method>, RenderError)> = None;
        for mount in &self.0 {
            let Some(rest) = mount.rest(path) else {
                continue;
            };
            if !mount.claim.takes(request) {
                continue;
            }
            own.get_or_insert(mount.render);
            if is_doubled {
                continue;
            }
            let Ok(matched) = mount.paths.at(rest) else {
                continue;
            };
            let entries = &mount.endpoints[*matched.value];
            if let Some(entry) = entry_for(entries, method) {
                let values = matched.params.iter().map(|(_, value)| value);
                return match decoded(values) {
                    Some(values) => RouteMatch::Handler(entry, mount.render, values),
                    None => RouteMatch::BadParameter(mount.render),
                };
            }
            let (methods, _) = others.get_or_insert_with(|| (Vec::new(), mount.render));
            methods.extend(entries.iter().map(|entry| &entry.route.method));
        }
        match others {
            Some((methods, render)) => RouteMatch::Methods(methods, render),
            None => RouteMatch::Nothing(own.unwrap_or(plain)),
        }
    }
}

impl Mounted {
    fn new(mount: Mount) -> Result<Self> {
        let prefix = mount.prefix;
        if !prefix.is_empty() && (!prefix.starts_with('/') || prefix.ends_with('/')) {
            return Err(defect(format!("{prefix:?} is no prefix of paths")));
        }
        let mut mounted = Self {
            prefix,
            claim: mount.claim,
            render: mount.render,
            paths: Router::new(),
            endpoints: Vec::new(),
        };
        // Patterns that differ only in the names of their parameters are one path.
        let mut places: Vec<(String, usize)> = Vec::new();
        for route in mount.routes {
            let (pattern, names) = without_names(route.path)?;
            let known = places.iter().find(|(p, _)| *p == pattern);
            let place = match known {
                Some((_, place)) => *place,
                None => {
                    let place = mounted.endpoints.len();
                    let clash = |e| defect(format!("the path {prefix}{}: {e}", route.path));
                    mounted.paths.insert(&pattern, place).map_err(clash)?;
                    mounted.endpoints.push(Vec::new());
                    places.push((pattern, place));
                    place
                }
            };
            let entries = &mut mounted.endpoints[place];
            if entries.iter().any(|e| e.route.method == route.method) {
                let (method, path) = (&route.method, route.path);
                return Err(defect(format!("{method} {prefix}{path} is there twice")));
            }
            entries.push(RouteEntry {
                prefix,
                route,
                param_names: names.into(),
            });
        }
        Ok(mounted)
    }

    /// The path below the prefix, if it is below it.
    fn rest<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.prefix)?;
        match rest.as_bytes().first() {
            None => Some("/"),
            Some(b'/') => Some(rest),
            // `*`, or an authority: no path at all, and only the whole tree answers for it.
            Some(_) => self.prefix.is_empty().then_some(rest),
        }
    }
}

fn entry_for<'a>(entries: &'a [RouteEntry], method: &Method) -> Option<&'a RouteEntry> {
    let of = |wanted: &Method| entries.iter().find(|e| e.route.method == *wanted);
    match of(method) {
        None if method == Method::HEAD => of(&Method::GET),
        found => found,
    }
}

/// Decodes parameters after they were matched, so that `%2F` stays inside its own.
fn decoded<'a>(values: impl Iterator<Item = &'a str>) -> Option<Vec<String>> {
    values
        .map(|value| Some(percent_decode_str(value).decode_utf8().ok()?.into_owned()))
        .collect()
}

/// The pattern with numbers for names, and the names.
fn without_names(path: &str) -> Result<(String, Vec<String>)> {
    if !path.is_empty() && !path.starts_with('/') {
        return Err(defect(format!(
            "the path {path:?} does not begin with a slash"
        )));
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(("/".into(), Vec::new()));
    }
    let (mut pattern, mut names) = (String::new(), Vec::new());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after
            .split_once('}')
            .ok_or_else(|| defect(format!("the path {path:?} has an open brace")))?;
        let star = if name.starts_with('*') { "*" } else { "" };
        pattern.push_str(&format!("{before}{{{star}p{}}}", names.len()));
        names.push(name.trim_start_matches('*').to_owned());
        rest = after;
    }
    pattern.push_str(rest);
    Ok((pattern, names))
}

/// A table that cannot be built is a defect in the program, found at its start.
fn defect(text: String) -> Error {
    Error::internal(text)
}

/// The refusal where no mount has a word for it.
fn plain(error: &Error) -> Reply {
    let status = match error.kind() {
        ErrorKind::Invalid => hyper::StatusCode::BAD_REQUEST,
        ErrorKind::RateLimited => hyper::StatusCode::TOO_MANY_REQUESTS,
        _ => hyper::StatusCode::NOT_FOUND,
    };
    Reply::text(status, error.detail().to_owned())
}

/// What `Allow` says of these methods: HEAD comes with GET, and OPTIONS is always answered.
pub(super) fn allow(methods: &[&Method]) -> String {
    let mut names: Vec<&str> = methods.iter().map(|m| m.as_str()).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parameters_do_not_tell_paths_apart() {
        let (pattern, names) = without_names("/a/{id}/b/{*rest}").expect("a path");
        assert_eq!(pattern, "/a/{p0}/b/{*p1}");
        assert_eq!(names, ["id", "rest"]);
        assert_eq!(without_names("/").expect("the root").0, "/");
        assert_eq!(without_names("/a/").expect("a slash at the end").0, "/a");
        assert!(without_names("a").is_err());
        assert!(without_names("/{a").is_err());
    }

    #[test]
    fn allow_names_each_method_once() {
        let methods = [&Method::POST, &Method::GET, &Method::POST];
        assert_eq!(allow(&methods), "GET, HEAD, OPTIONS, POST");
    }
}
