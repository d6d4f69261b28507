//! What whoever imports says of how it is to go.

/// How an import is to go.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImportOptions {
    /// Nothing is changed; the report says what would come now.
    pub dry_run: bool,
    /// Sessions that are here give way.
    pub replace: bool,
    /// What has a problem is left out, and does not hold up the rest.
    pub skip_problems: bool,
    /// Sessions connect as soon as they are here.
    pub connect: bool,
}
