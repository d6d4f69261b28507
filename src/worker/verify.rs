//! Looking, once, whether the files that older versions stored are what their names say.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::domain::Gateway;

/// Looks until all is seen, or `stop`; what is left is for the next start.
pub async fn run(gateway: Arc<Gateway>, stop: CancellationToken) {
    if let Err(error) = gateway.verify_media(&stop).await {
        tracing::error!(
            ?error,
            "the media folder could not be verified; the next start tries again"
        );
    }
}
