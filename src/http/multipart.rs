//! A multipart form, part by part, without ever holding more than a chunk of an upload.
//!
//! The parser bounds what lies between the contents of parts: 64 KiB of headers, 32 KiB before the
//! first boundary, 8 KiB of padding behind each. Contents are bounded by the body that they come in.

use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use multra::{Constraints, Field};

use super::body::Body;
use crate::error::{Code, Error, Result};

/// More parts than this are nobody's form.
const MAX_PARTS: usize = 256;

/// The parts of a form as they arrive.
pub struct Multipart(multra::Multipart<'static>);

/// One part. The next one comes when this one is dropped.
pub struct FormPart<'a> {
    field: Field<'static>,
    form: PhantomData<&'a mut Multipart>,
}

impl Multipart {
    pub(super) fn new(mut body: Body, boundary: String) -> Self {
        let pieces = stream::poll_fn(move |cx| body.poll_chunk(cx));
        let bounds = Constraints::new().max_fields(MAX_PARTS);
        Self(multra::Multipart::with_constraints(
            pieces, boundary, bounds,
        ))
    }

    pub(super) fn of_bytes(bytes: Bytes, boundary: String) -> Self {
        let pieces = stream::iter([Ok::<_, Error>(bytes)]);
        let bounds = Constraints::new().max_fields(MAX_PARTS);
        Self(multra::Multipart::with_constraints(
            pieces, boundary, bounds,
        ))
    }

    /// The next part. What was not read of the one before is passed over.
    pub async fn next(&mut self) -> Result<Option<FormPart<'_>>> {
        let field = self.0.next_field().await.map_err(refused)?;
        Ok(field.map(|field| FormPart {
            field,
            form: PhantomData,
        }))
    }
}

impl FormPart<'_> {
    /// The field's name.
    pub fn name(&self) -> Option<&str> {
        self.field.name()
    }

    /// The name of the file, as the client has it: words for people, never a path.
    pub fn filename(&self) -> Option<&str> {
        self.field.file_name()
    }

    /// The type that the client claims.
    pub fn content_type(&self) -> Option<&str> {
        self.field.content_type().map(AsRef::as_ref)
    }

    /// The next bytes; `None` at the part's end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        self.field.chunk().await.map_err(refused)
    }

    /// The whole part, if it is at most `max` bytes.
    pub async fn bytes(&mut self, max: usize) -> Result<Bytes> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if whole.len() + chunk.len() > max {
                let text = format!("A field of the form is larger than {max} bytes");
                return Err(Error::new(Code::BodyTooLarge, text));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// The whole part as text, if it is at most `max` bytes.
    pub async fn text(&mut self, max: usize) -> Result<String> {
        let bytes = self.bytes(max).await?;
        String::from_utf8(bytes.into())
            .map_err(|_| Error::invalid("A field of the form is not valid UTF-8"))
    }
}

/// The parser's error in our words; our own, which came through it, as it was.
fn refused(error: multra::Error) -> Error {
    let malformed = || Error::new(Code::MalformedBody, "Malformed multipart body");
    match error {
        multra::Error::StreamReadFailed(inner) => match inner.downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => malformed().because(other),
        },
        multra::Error::FieldCountExceeded { .. } => {
            Error::new(Code::BodyTooLarge, "The form has too many parts")
        }
        other => malformed().because(other),
    }
}
