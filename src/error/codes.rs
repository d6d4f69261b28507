//! Every error that a client may see, each once: its name, its kind and its sentence.
//!
//! A code stands for one thing that a client can branch on. The name is for programs and stays as it
//! is; the sentence is for people, and whoever makes the error may give a better one. A dialect
//! words an error by its code, and uses the error's own sentence where it has none of its own.

use std::borrow::Cow;

use serde::{Deserialize as _, Deserializer, Serialize, Serializer};

use super::ErrorKind;

/// Makes [`Code`] of the table: `Variant = "name", Kind, "The sentence";`
macro_rules! codes {
    ($($code:ident = $name:literal, $kind:ident, $text:literal;)*) => {
        /// One thing that can go wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $text] $code,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// The name for programs, such as `session_not_found`. Stored, and never changed.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)*
                }
            }

            /// What kind of failure it is, from which a dialect has its status.
            pub const fn kind(self) -> ErrorKind {
                match self {
                    $(Self::$code => ErrorKind::$kind,)*
                }
            }

            /// The sentence of an error that has none of its own.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$code => $text,)*
                }
            }
        }
    };
}

codes! {
    // The request.
    InvalidRequest = "invalid_request", Invalid, "The request is not valid";
    MalformedBody = "malformed_body", Invalid, "The request body must be a JSON object";
    BodyTooLarge = "body_too_large", TooLarge, "The request body is too large";
    BodyTimeout = "body_timeout", RequestTimeout, "The request body did not arrive in time";
    ContentTypeUnsupported = "content_type_unsupported", UnsupportedMedia, "Content-Type must be application/json, multipart/form-data or application/x-www-form-urlencoded";
    NotFound = "not_found", NotFound, "Not found";
    MethodNotAllowed = "method_not_allowed", MethodNotAllowed, "Method not allowed";
    TooManyRequests = "too_many_requests", RateLimited, "Too many requests are under way";
    TooManyLogins = "too_many_logins", RateLimited, "Too many wrong credentials; try again later";
    TooManyStreams = "too_many_streams", RateLimited, "Too many event streams are open; one can carry all events of a session";
    ServerBusy = "server_busy", RateLimited, "The server is busy with other large requests; try again";
    ClientLeft = "client_left", RequestTimeout, "The client disconnected before anything was sent";
    ShuttingDown = "shutting_down", Unavailable, "The gateway is shutting down";
    Internal = "internal_error", Internal, "Internal server error";

    // Who asks.
    CredentialMissing = "credential_missing", Unauthorized, "No token provided";
    MasterKeyMissing = "master_key_missing", Unauthorized, "Master API key required";
    MasterKeyInvalid = "master_key_invalid", Unauthorized, "Invalid master API key";
    TokenInvalid = "token_invalid", Forbidden, "Invalid token";
    ScopeMissing = "scope_missing", Forbidden, "The key lacks a scope that this needs";
    KeyOfOtherDialect = "key_of_other_dialect", Forbidden, "This key is for another dialect";
    KeyForOneSession = "key_for_one_session", Forbidden, "The key is for one session only";
    TokenNotForKeys = "token_not_for_keys", Forbidden, "The token of a session is not for keys";
    CredentialsOfTwoDialects = "credentials_of_two_dialects", Invalid, "The request has credentials for two dialects";
    KeyNotFound = "key_not_found", NotFound, "Key not found";
    KeyLimitReached = "key_limit_reached", Conflict, "There are too many keys already; revoke one first";
    LastAdminKey = "last_admin_key", Conflict, "This is the last key with the scope admin in its dialect; create another first";
    SessionForbidden = "session_forbidden", Forbidden, "Invalid token for this session";
    LegacyOff = "legacy_off", NotFound, "The legacy API is switched off (setting legacy)";

    // Sessions.
    SessionIdMissing = "session_id_missing", Invalid, "sessionId is required";
    SessionIdInvalid = "session_id_invalid", Invalid, "Invalid session ID format";
    SessionIdAmbiguous = "session_id_ambiguous", Invalid, "Two different session IDs were given";
    SessionNotFound = "session_not_found", NotFound, "Session not found";
    SessionNotConnected = "session_not_connected", NotConnected, "the session is not connected to WhatsApp";
    SessionConnected = "session_connected", Invalid, "Session is already connected";
    SessionBusy = "session_busy", Conflict, "The session is being changed; try again";
    SessionUnreadable = "session_unreadable", Conflict, "The stored data of this session is damaged; delete the session and create it again";
    SessionLimitReached = "session_limit_reached", Invalid, "Maximum active session limit reached";
    QrNotReady = "qr_not_ready", UpstreamTimeout, "No QR code yet";
    PairingCodeRefused = "pairing_code_refused", Upstream, "WhatsApp refused to give a pairing code for this number";
    SessionLoggedOut = "session_logged_out", Conflict, "the session was logged out before WhatsApp confirmed the message; it may still arrive";
    OptOutWordsInvalid = "opt_out_words_invalid", Invalid, "a session may have up to 20 opt-out words of its own, each of up to 50 characters";
    SettingInvalid = "setting_invalid", Invalid, "A setting is not valid";
    ImportUnreadable = "import_unreadable", Invalid, "Nothing in it can be imported";
    ImportHeldUp = "import_held_up", Conflict, "Nothing was changed: fix the problems first, or leave out what has problems";

    // Messages.
    MessageInvalid = "message_invalid", Invalid, "The message is not valid";
    MessageTypeUnsupported = "message_type_unsupported", Invalid, "Unsupported message type";
    MessageEmpty = "message_empty", Invalid, "Invalid text message content.";
    MessageTooLong = "message_too_long", Invalid, "Invalid text message content.";
    TooManyMessages = "too_many_messages", Invalid, "Too many messages in one request";
    NumberInvalid = "number_invalid", Invalid, "Invalid phone number format. Use 8-15 digits.";
    CountryCodeMissing = "country_code_missing", Invalid, "The number begins with 0: write it with its country code (62812... for 0812...), or set default_country_code in the gateway's settings";
    RecipientInvalid = "recipient_invalid", Invalid, "Invalid JID format";
    NumberNotOnWhatsapp = "number_not_on_whatsapp", NotFound, "the number is not on WhatsApp";
    MessageIdInvalid = "message_id_invalid", Invalid, "Invalid message ID format";
    MessageNotFound = "message_not_found", NotFound, "Message not found";
    MessageNotEditable = "message_not_editable", Invalid, "Only own text messages can be edited";
    MessageUnsendable = "message_unsendable", Invalid, "WhatsApp does not accept this kind of message for this recipient";
    MessageRefused = "message_refused", Upstream, "WhatsApp refused the message";
    MessageUnacknowledged = "message_unacknowledged", UpstreamTimeout, "WhatsApp did not acknowledge the message in time; it may still arrive";
    AccountRateLimited = "account_rate_limited", Upstream, "too many messages; wait before sending more";
    MessageTooOld = "message_too_old", Conflict, "interrupted by a restart and too old to be sent";
    LocationInvalid = "location_invalid", Invalid, "a location needs a latitude from -90 to 90 and a longitude from -180 to 180";
    PlaceLabelTooLong = "place_label_too_long", Invalid, "the name or address of a location is too long";
    ContactsInvalid = "contacts_invalid", Invalid, "a message can have 1 to 50 contacts, each with a name and a number, or with a vCard";
    PollInvalid = "poll_invalid", Invalid, "a poll needs a question of up to 255 characters and 2 to 12 different options of up to 100 characters";
    EmojiInvalid = "emoji_invalid", Invalid, "a reaction must be an emoji, or empty to remove it";
    AlbumInvalid = "album_invalid", Invalid, "an album needs 2 to 30 images, videos or documents";
    MentionsInvalid = "mentions_invalid", Invalid, "mentions must be an array of phone numbers, or [\"all\"]";
    TooManyMentions = "too_many_mentions", Invalid, "Too many people are mentioned";
    MentionsNeedGroup = "mentions_need_group", Invalid, "Mentioning everyone works only in groups";
    GuardReached = "guard_reached", RateLimited, "No more new contacts can be written to for now (setting guard)";
    GroupUnavailable = "group_unavailable", Upstream, "WhatsApp does not show this group to this account";
    IdempotencyKeyInvalid = "idempotency_key_invalid", Invalid, "Idempotency-Key must be 1 to 255 characters";
    IdempotencyKeyInUse = "idempotency_key_in_use", Conflict, "A request with this Idempotency-Key is still being processed";
    IdempotencyKeyReused = "idempotency_key_reused", Conflict, "This Idempotency-Key was used with a different request";

    // Files.
    FileMissing = "file_missing", Invalid, "No file uploaded";
    TooManyFiles = "too_many_files", Invalid, "Only one file may be uploaded at a time";
    FileSourceMissing = "file_source_missing", Invalid, "A file needs a link, the ID of an upload, or its content in base64";
    FileSourceAmbiguous = "file_source_ambiguous", Invalid, "Only one of a link, the ID of an upload and base64 content may be given";
    FileNameInvalid = "file_name_invalid", Invalid, "Invalid file name";
    MimeTypeInvalid = "mime_type_invalid", Invalid, "Invalid MIME type";
    FileEmpty = "file_empty", Invalid, "The file is empty";
    FileNotBase64 = "file_not_base64", Invalid, "The file is not valid base64";
    FileTooLarge = "file_too_large", TooLarge, "File too large";
    FileTypeUnsupported = "file_type_unsupported", UnsupportedMedia, "Invalid file type. Only JPEG, PNG, GIF, WebP, PDF, Word, Excel, PowerPoint, MP4, 3GP, MOV, MP3, M4A, AAC, AMR, and Ogg allowed.";
    FileTypeWrong = "file_type_wrong", UnsupportedMedia, "The content of the file does not match its claimed type";
    FileUnreadable = "file_unreadable", Unprocessable, "The image cannot be read";
    FileTooComplex = "file_too_complex", Unprocessable, "The image takes too long to process; send a smaller or shorter one";
    PictureTooLarge = "picture_too_large", TooLarge, "The image has too many pixels";
    FileNotAsDescribed = "file_not_as_described", Unprocessable, "The file does not match its message and was not kept";
    FileDamaged = "file_damaged", Unavailable, "The stored file is damaged; upload it again";
    FileNotFound = "file_not_found", NotFound, "This message has no file";
    FileGone = "file_gone", NotFound, "The file of this message is no longer kept";
    FileExpired = "file_expired", UpstreamTimeout, "The file has expired at WhatsApp, and the account's phone did not upload it again; open WhatsApp there and try later";
    MediaIdInvalid = "media_id_invalid", Invalid, "Invalid media ID format";
    MediaNotFound = "media_not_found", NotFound, "Media not found";
    MediaInUse = "media_in_use", Conflict, "The file is part of a campaign that has not ended";
    MediaQuotaReached = "media_quota_reached", TooLarge, "The media quota of this session is used up";

    // Other servers.
    UrlInvalid = "url_invalid", Invalid, "URL must be a valid http(s) URL";
    UrlWithPassword = "url_with_password", Invalid, "URL must be a credential-free http(s) URL";
    UrlRefused = "url_refused", Invalid, "URL must not point to a private or reserved address";
    UrlUnresolvable = "url_unresolvable", Invalid, "URL host name cannot be resolved";
    HostUnreachable = "host_unreachable", Upstream, "The host cannot be reached";
    HostTimeout = "host_timeout", UpstreamTimeout, "The host did not answer in time";
    AnswerNotHttp = "answer_not_http", Upstream, "The host's answer is not HTTP";
    LinkFailed = "link_failed", Upstream, "The link does not lead to a file";
    AnswerTooLarge = "answer_too_large", TooLarge, "The host's answer is too large";
    WhatsappUnreachable = "whatsapp_unreachable", UpstreamTimeout, "WhatsApp's server could not be reached";
    WhatsappRefused = "whatsapp_refused", Upstream, "WhatsApp refused the request";

    // Webhooks.
    WebhookSecretInvalid = "webhook_secret_invalid", Invalid, "Webhook secret must be 8 to 256 characters";
    EventUnknown = "event_unknown", Invalid, "Unknown event";
    DeliveryNotFound = "delivery_not_found", NotFound, "Delivery not found";
    DeliveryNotDead = "delivery_not_dead", Conflict, "A delivery that arrived cannot be replayed";
    DeliveryNotWaiting = "delivery_not_waiting", Conflict, "Only pending deliveries can be skipped";
    WebhookNotFound = "webhook_not_found", NotFound, "The webhook of this delivery was removed";
    EventForgotten = "event_forgotten", NotFound, "The event of this delivery is no longer kept";

    // Campaigns and lists.
    CampaignIdInvalid = "campaign_id_invalid", Invalid, "Invalid campaign ID format";
    CampaignNotFound = "campaign_not_found", NotFound, "Campaign not found";
    CampaignUnreadable = "campaign_unreadable", Conflict, "The stored data of this campaign is damaged (`warung check` names it); delete it and create it again";
    CampaignStatusForbids = "campaign_status_forbids", Conflict, "The status of the campaign does not allow it";
    ListIdInvalid = "list_id_invalid", Invalid, "Invalid list ID format";
    ListNotFound = "list_not_found", NotFound, "Recipient list not found";
    ListUnreadable = "list_unreadable", Conflict, "The stored data of this list is damaged (`warung check` names it); delete it and create it again";
    ListEmpty = "list_empty", Invalid, "The list is empty";
    RecipientsMissing = "recipients_missing", Invalid, "recipients or recipientListId is required";
    RecipientsInvalid = "recipients_invalid", Invalid, "Invalid recipient data";
    TooManyRecipients = "too_many_recipients", Invalid, "Too many recipients";
    TooManyColumns = "too_many_columns", Unprocessable, "The recipients have too many different custom fields for a sheet";
    RecipientNotFound = "recipient_not_found", NotFound, "Recipient not found in list";
    RecipientExists = "recipient_exists", Conflict, "Recipient with this number already exists in the list";
    RecipientsArePage = "recipients_are_page", Invalid, "recipients is only one page (the body has page or next) and would replace the whole list: read everybody with a GET without limit and after, or change single recipients at /recipients; to keep only these, leave out page and next";
    ChangedWhileRead = "changed_while_read", Conflict, "It was changed while being read; read it again";
    NumberNotSuppressed = "number_not_suppressed", NotFound, "The number is not suppressed";
    SheetInvalid = "sheet_invalid", Invalid, "The sheet cannot be read";
    NumberOutOfRange = "number_out_of_range", Invalid, "The number is out of bounds";
    TagsInvalid = "tags_invalid", Invalid, "tags must be an array of strings";
    TimeInvalid = "time_invalid", Invalid, "not a date and time such as 2026-12-31T09:00:00+07:00";
    TimeZoneUnknown = "time_zone_unknown", Invalid, "unknown time zone";
    QuietHoursInvalid = "quiet_hours_invalid", Invalid, "quiet hours must be times such as 21:00";
    LimitReached = "limit_reached", Invalid, "The session has as many of these as it may have";
    StoreQuotaReached = "store_quota_reached", TooLarge, "The store quota of this session is used up";
    BackupInvalid = "backup_invalid", Invalid, "This is not a backup of lists and campaigns";

    // The machine, and who runs the program on it.
    StoreUnavailable = "store_unavailable", Unavailable, "The data folder cannot be written or read right now (is the disk full?); try again later";
    StoreInUse = "store_in_use", Conflict, "The store is in use by another process; stop that one first";
    StoreUnknown = "store_unknown", Invalid, "The file is not a store of this program";
    StoreDamaged = "store_damaged", Internal, "The store is damaged; restore a backup";
    SecretKeyWrong = "key_wrong", Unavailable, "the file secret.key does not belong to this store; put the right one back (nothing was changed)";
    RestoreRefused = "restore_refused", Conflict, "The backup cannot be restored here";
    PathUnusable = "path_unusable", Unavailable, "A file or folder cannot be read or written";
    GatewayRefused = "gateway_refused", Unavailable, "The gateway refused";
    GatewayUnreachable = "gateway_unreachable", Upstream, "No gateway answers";
}

impl Code {
    /// Whether a credential that nobody has was shown: whoever guesses sees this, and nobody else.
    pub fn is_wrong_credential(self) -> bool {
        matches!(self, Self::MasterKeyInvalid | Self::TokenInvalid)
    }

    /// Reads a stored name; `None` for one that only another version knows.
    pub fn known<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Self>, D::Error> {
        let name = Option::<Cow<'_, str>>::deserialize(from)?;
        let known = |name: Cow<'_, str>| Self::ALL.iter().find(|code| code.as_str() == name);
        Ok(name.and_then(known).copied())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The sources without their tests, and without the table.
    fn program(folder: &Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                if !path.ends_with("tests") && !path.ends_with("sandbox") {
                    program(&path, text);
                }
            } else if !path.ends_with("error/codes.rs") && !path.ends_with("tests.rs") {
                let source = std::fs::read_to_string(&path).expect("a source");
                let tests = source.match_indices("#[cfg(test)]\nmod ").find(|(at, _)| {
                    let line = source[*at..].lines().nth(1);
                    line.is_some_and(|line| line.ends_with('{'))
                });
                text.push_str(&source[..tests.map_or(source.len(), |(at, _)| at)]);
            }
        }
    }

    #[test]
    fn each_code_has_one_name_for_programs() {
        let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len(), "a name is there twice");
        for name in names {
            let plain = |c: char| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit();
            assert!(name.chars().all(plain) && !name.contains("__"), "{name}");
        }
    }

    /// The codes that errors are made of in a text: what is only matched or compared is none of them.
    fn made(text: &str) -> BTreeSet<&str> {
        let mut made = BTreeSet::new();
        for (at, path) in text.match_indices("Code::") {
            let (before, after) = (text[..at].trim_end(), &text[at + path.len()..]);
            let end = after.find(|c: char| !c.is_alphanumeric());
            let (name, after) = after.split_at(end.unwrap_or(after.len()));
            let after = after.trim_start();
            let alternative = after.starts_with('|') && !after.starts_with("||")
                || before.ends_with('|') && !before.ends_with("||");
            let compared = before.ends_with("==") || before.ends_with("!=");
            if !alternative && !compared && !after.starts_with("=>") {
                made.insert(name);
            }
        }
        made
    }

    #[test]
    fn a_code_that_is_only_matched_is_not_used() {
        let text = "match code {\n    Code::A | Code::B => Code::C.into(),\n    Code::D => {}\n}\n\
                    if code == Code::E || x { Error::new(Code::F, text) }\n\
                    ok_or_else(|| Code::G.into())";
        assert_eq!(made(text), BTreeSet::from(["C", "F", "G"]));
    }

    #[test]
    fn each_code_is_used_by_the_program() {
        let mut text = String::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        program(&root, &mut text);
        let used = made(&text);
        let unused: Vec<_> = Code::ALL
            .iter()
            .map(|code| format!("{code:?}"))
            .filter(|code| !used.contains(code.as_str()))
            .collect();
        assert!(unused.is_empty(), "codes that no error has: {unused:?}");
    }

    #[test]
    fn a_sentence_is_there_and_says_no_more_than_one_line() {
        for code in Code::ALL {
            let text = code.text();
            assert!(!text.trim().is_empty() && !text.contains('\n'), "{code:?}");
        }
    }
}
