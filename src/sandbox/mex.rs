//! Questions in GraphQL (`w:mex`): which document is asked for, and the shape of the answer.
//!
//! A client names a document that the server knows by number, and gives its variables as JSON;
//! what a document does is in the file of what it is about.

use serde_json::{Value, json};
use whatsapp_rust::wacore_binary::{Node, NodeRef};

use super::iq::IqRequest;
use super::network::Network;
use super::number::Number;
use super::stanza::{bytes, text};

/// What a document gives: the value of `data`, or why there is none.
pub(super) type MexResult = Result<Value, MexError>;

/// Why a document gives nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MexError {
    code: u16,
    words: &'static str,
}

impl MexError {
    pub(super) const MALFORMED: Self = Self::new(400, "Bad Request");
    pub(super) const FORBIDDEN: Self = Self::new(403, "Forbidden");
    pub(super) const NOT_FOUND: Self = Self::new(404, "Not Found");
    /// A document, or a part of its variables, that this network does not know.
    pub(super) const UNKNOWN: Self = Self::new(501, "Not Implemented");
    /// The number names no document.
    const NO_DOCUMENT: Self = Self::new(400, "Unknown persisted query");

    const fn new(code: u16, words: &'static str) -> Self {
        Self { code, words }
    }

    fn into_json(self) -> Value {
        json!({ "data": null, "errors": [{
            "message": self.words,
            "extensions": {
                "error_code": self.code,
                "is_retryable": false,
                "severity": "CRITICAL",
            },
        }] })
    }
}

impl Network {
    /// Answers a question in GraphQL; what goes wrong is said in its own way.
    pub(super) fn answer_mex(&self, request: &IqRequest<'_, '_>) -> Option<Node> {
        let query = request.child("query")?;
        let document = text(query, "query_id")?;
        let answer = match variables(query) {
            Some(variables) => self
                .answer_document(&document, request.from.number, &variables)
                .unwrap_or_else(|| {
                    self.counters.unknown(format!("mex {document}"));
                    Err(MexError::NO_DOCUMENT)
                }),
            None => Err(MexError::MALFORMED),
        };
        let told = match answer {
            Ok(data) => json!({ "data": data }),
            Err(failure) => failure.into_json(),
        };
        request.answer([bytes("result", told.to_string())])
    }

    /// Does what a document says; `None` if there is no such document.
    ///
    /// Where there are several numbers, WhatsApp has changed the document between the clients that
    /// name it.
    fn answer_document(&self, document: &str, by: Number, variables: &Value) -> Option<MexResult> {
        Some(match document {
            "25399611239711790" | "33101596156151910" => self.followed_channels(by),
            "27456920720571478" | "25383075034668475" => self.channel(by, variables),
            "25149874324715067" => self.create_channel(by, variables),
            "24404358912487870" => self.follow_channel(by, variables),
            "9767147403369991" => self.leave_channel(by, variables),
            "24250201037901610" => self.update_channel(by, variables),
            "31938993655691868" => self.set_for_follower(by, variables),
            "30062808666639665" => self.delete_channel(by, variables),
            "9935467776504344" | "24079399904996141" => self.subgroups(by, variables),
            _ => return None,
        })
    }
}

/// The variables of a question.
fn variables(query: &NodeRef<'_>) -> Option<Value> {
    let payload = match query.content_bytes() {
        Some(bytes) => serde_json::from_slice(bytes),
        None => serde_json::from_str(query.content_str()?),
    };
    let mut payload: Value = payload.ok()?;
    Some(payload.get_mut("variables")?.take())
}
